"""The page of a study: what came out, how surely, and what the paper says.

`verdicts` holds the rule by which a loop is called bounded, rising or collapsed; `content` gathers what the page says;
`charts` draws the interactive charts; `page` renders. Imports nothing, so that a step's code digest stays narrow.
"""
