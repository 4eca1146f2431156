"""The sections of an experiment of the molecule domain. Light: the Snakefile and the steps import it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selfloop.config.section import DataSeed, Paths, Reserve, Section, Start

VALIDATION_KEYS = ("validation",)  # of `data`; besides it, there is a fraction


class Data(Section):
    """Where the real conformations come from, and which of them are used."""

    needs: ClassVar = {
        "rdkit": ("molecules", "conformers", "test_molecules"),
        "sdf": ("train",),
        "rdkit_folder": ("folder", "test_molecules"),
        "geodiff": ("train",),
    }
    unsaid: ClassVar = frozenset({"folder", "reserve", *VALIDATION_KEYS, "validation_fraction", "validation_molecules"})

    source: Literal["rdkit", "sdf", "rdkit_folder", "geodiff"]
    """`rdkit`: molecules that come with rdkit (from the NCI's open database), with conformers made by rdkit (ETKDG,
    then MMFF); `sdf`: your own SDF files, an entry per conformer; `rdkit_folder`: the archive of that name of GEOM,
    unpacked; `geodiff`: GeoDiff's processed splits of GEOM, such as `train_data_40k.pkl`.
    """
    train: Paths | None = None
    """Paths or globs of the files to train on, `.sdf`, `.sdf.gz` or `.pkl`. One
    string or a list of them.
    """
    test: Paths | None = None
    """The same for the files to test on, of whose molecules none is trained on; null holds out `test_fraction` of the
    molecules of SDF files.
    """
    validation: Paths | None = None
    """The same for the files that `schedule: plateau` watches; their molecules are neither trained nor tested on."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the training molecules (of `molecules`, where that is given) held out with `seed` for `schedule:
    plateau` to watch; no regime trains on them. Null for none, or with `schedule: plateau` and no `validation`, 0.05.
    """
    validation_molecules: Annotated[int, Field(ge=1)] | None = None
    """Number of validation molecules at most, sampled with `seed`; null for all."""
    folder: Annotated[str, Field(min_length=1)] | None = None
    """The folder that `rdkit_folder.tar.gz` unpacks to; `summary_drugs.json` lies in it."""
    molecules: Annotated[int, Field(ge=1)] | None = None
    """Number of training molecules, sampled with `seed`; null for all. `rdkit` needs a number. If there are fewer, the
    study stops.
    """
    test_molecules: Annotated[int, Field(ge=1)] | None = 100
    """Number of test molecules, sampled with `seed`, and with `sdf` and `geodiff` on at most this many; null for all of
    the test files or of the share held out. `rdkit` and `rdkit_folder` need a number.
    """
    conformers: Annotated[int, Field(ge=1)] | None = None
    """Largest number of conformations per molecule: of GEOM the likeliest ones, else the first; null for all. `rdkit`
    needs a number, and makes that many, or `test_conformers` if that is more.
    """
    test_conformers: Annotated[int, Field(ge=1)] | None = None
    """The same for the molecules to test on; null for as many as of those to train on."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Largest number of training conformations in all, sampled with `seed`; null for all."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """With `sdf`: share of the molecules held out with `seed` where no files to test on are given. The other sources do
    not read it.
    """
    max_atoms: Annotated[int, Field(ge=2)] | None = None
    """Larger molecules, hydrogens counted, are left out; null for no limit."""
    match_names: bool = True
    """SDF entries of one name have to be conformers of one molecule, and those that are not of the first one's are left
    out, unless they are most: such a title is not taken for a name. `false` where names mean something else.
    """
    reserve: Reserve = 0.0
    """Further real conformations for regimes that take `fresh` ones, in multiples of those to train on, of molecules
    that are in no other split.
    """
    seed: DataSeed = 0
    """Seed of which molecules are used, and of rdkit's conformers. `per-chain`: the chain's own, so that intervals over
    seeds also say what another draw of the real data would change.
    """


class Model(Section):
    """The networks' size, and the diffusion that they undo."""

    hidden_size: Annotated[int, Field(ge=4)] = 128
    """Width of both encoders."""
    global_layers: Annotated[int, Field(ge=1)] = 6
    """Interaction blocks of the global encoder, a SchNet on all pairs of atoms within the cutoff."""
    local_layers: Annotated[int, Field(ge=1)] = 4
    """Layers of the local encoder, a graph isomorphism network on pairs of atoms at most three bonds apart."""
    cutoff: Annotated[float, Field(gt=0)] = 10.0
    """Å; pairs further apart do not see each other, unless they are at most three bonds apart."""
    edge_encoder: Literal["separate", "shared"] = "separate"
    """Whether the local branch has an edge encoder of its own, or (`shared`) takes the global one's features, which is
    what the original code does.
    """
    timesteps: Annotated[int, Field(ge=2)] = 1000
    """Noise levels T of the diffusion."""
    beta_start: Annotated[float, Field(gt=0, lt=1)] = 1e-07
    """The first beta; betas rise along a sigmoid."""
    beta_end: Annotated[float, Field(gt=0, lt=1)] = 0.009
    """The last beta. With T = 1000 these give noise levels from 0.005 to 9.5 Å."""


class Training(Section):
    """How each model is trained."""

    unsaid: ClassVar = frozenset({"start"})
    of_machine: ClassVar = frozenset({"micro_batch"})

    steps: Annotated[int, Field(ge=1)] = 41000
    """Optimizer steps, the same for every training set, however large."""
    start: Start = "scratch"
    """The weights that each training from iteration 2 on starts from: `scratch`, new random ones; `previous`, those of
    model n-1; `first`, those of model 1. The optimizer's moments always start at 0.
    """
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Conformations per optimizer step; no more than there are conformations."""
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    """Conformations computed at once by each process, where a batch needs more memory than a GPU has; their gradients
    add up to the batch's. It changes rounding alone, as the number of GPUs does, and so neither names nor reruns
    anything. null for all at once.
    """
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Peak learning rate of Adam."""
    schedule: Literal["cosine", "constant", "plateau"] = "plateau"
    """`cosine`, `constant`, or `plateau`: times `decay` whenever the total loss on the validation molecules has not
    fallen for more than `patience` evaluations; the test molecules only measure.
    """
    final_learning_rate: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Where the cosine ends, as a share of the peak."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.6
    """What a plateau multiplies the learning rate by."""
    patience: Annotated[int, Field(ge=0)] = 10
    """Evaluations in a row without a lower loss that `plateau` bears: with 10, the rate falls after the eleventh, as in
    torch.
    """
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of linear warm-up; at most a tenth of the run is used."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's weight decay, on matrices only; 0 makes it Adam."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Adam's first decay rate."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Adam's second decay rate."""
    clip: Annotated[float, Field(gt=0)] = 30000.0
    """The gradient's norm is clipped to this."""
    evaluations: Annotated[int, Field(ge=1)] = 82
    """Points of the learning curve, evenly over the run; the last one is at its end. They change the model only where
    the schedule `plateau` waits for them.
    """
    precision: Literal["float32"] = "float32"
    """Compute dtype; distances need all of it."""


class Sampling(Section):
    """How conformations are sampled; each entry gives chains of its own, which share their first models with the
    others.
    """

    schedule: Literal["strided", "noisiest", "all"] = "strided"
    """Which noise levels are visited: `strided`, evenly from the noisiest to the finest; `noisiest`, only the noisiest
    ones, one by one, as the original code does with fewer steps than levels (with 50 of 1000, it ends at a noise of 7.6
    Å); or `all`.
    """
    steps: Annotated[int, Field(ge=2)] = 50
    """How many noise levels are visited, one step each; `all` ignores it."""
    step_size: Annotated[float, Field(gt=0)] = 1e-06
    """Langevin step size at a noise level of 0.01 Å; it grows with the square of the level."""
    global_below: Annotated[float, Field(ge=0)] = 0.5
    """Å; forces of the global encoder join below this noise level."""
    global_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the global forces."""
    clip: Annotated[float, Field(gt=0)] = 1000.0
    """Global forces on an atom are clipped to this norm."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Conformations sampled side by side. Each has random numbers of its own, so this changes samples by rounding
    alone.
    """
