"""A play's text becomes its speeches, and nothing else."""

from selfloop.inputs import shakespeare

PLAY = """THE PLAY
Persons Represented.
KING.
A Servant.

ACT I.

SCENE 1. A room.

The same. Night.

[Enter KING and
a Servant.]

KING.
Now is [Aside.] the night,
  And _late_ it is.

[Knocking.]

Who's there?

SERVANT. One word, sir.
KING.
Speak.

Enter a MESSENGER, with

SECOND LORD
[Enter a thing that never closes

lost words

FIRST LORD.
SONG.

Hey ho.

ACT II.

Not spoken.

KING.
Farewell.

THE END
"""


def test_a_play_becomes_its_speeches_without_speakers_headings_and_directions() -> None:
    assert list(shakespeare.speeches(PLAY)) == [
        "Now is the night,\nAnd late it is.\nWho's there?",
        "One word, sir.",
        "Speak.",
        "Hey ho.",
        "Farewell.",
    ]


def test_speakers_may_be_in_mixed_case_or_numbered() -> None:
    paragraphs = [
        "ACT I.",
        "Ham.\nWords, words.",
        "Ros. and Guil.\nMy lord!",
        "1 Musician.\nNo.",
        "Ham. On the same line.",
        "Fool me. So.",
    ]
    assert list(shakespeare.speeches("\n\n".join(paragraphs))) == [
        "Words, words.",
        "My lord!",
        "No.",
        "On the same line.\nFool me. So.",
    ]


def test_the_installed_plays_are_whole_clean_and_split_by_play() -> None:
    plays = shakespeare.plays()
    assert len(plays) == 37
    assert not [name for name in plays if name.endswith("_f") or name in shakespeare.NOT_PLAYS]
    by_part = {part: list(shakespeare.split(part)) for part in ("train", "test")}
    names = {part: {place.split(",")[0] for _, place in speeches} for part, speeches in by_part.items()}
    assert names["test"] == set(shakespeare.TEST_PLAYS)
    assert names["train"] == set(plays) - set(shakespeare.TEST_PLAYS)
    for name in sorted(plays):
        speeches = [speech for part in by_part.values() for speech, place in part if place.startswith(f"{name},")]
        spoken = sum(map(len, speeches))
        assert len(speeches) > 500, name
        assert 0.8 < spoken / plays[name].stat().st_size < 0.95, name  # the rest is speakers, directions, front matter
        assert not [speech for speech in speeches if set(speech) & set("[]{}_@<>")], name


def test_two_halves_have_all_plays_that_are_trained_on_and_share_those_that_are_tested_on() -> None:
    def plays(corpus: str, split: str = "train") -> list[str]:
        return list(dict.fromkeys(place.split(",")[0] for _, place in shakespeare.split(split, corpus)))

    first, second = plays("shakespeare-first-half"), plays("shakespeare-second-half")
    assert first + second == plays("shakespeare")
    assert abs(len(first) - len(second)) <= 1
    assert plays("shakespeare-first-half", "test") == plays("shakespeare", "test")
