"""The page of a study: what came out, how surely, and what the paper says.

`spec` says what a study shows (light, for planning); `content` gathers it from files; `verdicts` holds the rule by
which a loop is called bounded, rising or collapsed; `claims` compares with the paper; `charts` draws what reacts to the
pointer; `page` renders; `partial` does for a study that is not finished. This file imports nothing, so that a step's
code digest covers just the modules that it uses.
"""
