"""Measures the library against its peers and its promises; quotes ratios of one run, never bare seconds.

    python -m benchmarks [question ...] [--quick] [--repeat N] [--rows NAME,...] [--json FILE]
    python -m benchmarks plots [FILE ...]

One question is one module in `benchmarks/questions`: its docstring says what is asked, and its `async def
ask(settings)` returns an `Answer`. A new file there is a new question; nothing else needs to know it. A question that
names its `PARTS`, as the matrix does its rows, is asked once for each.

With `--json`, each answer is kept once it is there: a run that is cut off loses only what it was at, and several runs
can make one page. The file holds one record of each part of a question, which a later run replaces; all others stay.
It has one key, `answers`; each has `question`, `part`, `about`, `seconds`, `conditions` (`package`, `machine`,
`versions`, `workers`, `rounds`, `quick`, `load`: CPUs that others used), `tables`, `promises` (`text`, `value`,
`limit`, `at_least`, `kept`) and `numbers`, the raw ones. One run at a time writes a file. `plots` makes
docs/benchmarks.md and its figures from such files.
"""
