"""Measures the library against its peers and its promises; quotes ratios of one run, never bare seconds.

    python -m benchmarks [question ...] [--quick] [--repeat N] [--rows NAME,...] [--json FILE]
    python -m benchmarks plots [FILE ...]

One question is one module in `benchmarks/questions`: its docstring says what is asked, and its `async def
ask(settings)` returns an `Answer`. A new file there is a new question; nothing else needs to know it.

The JSON has the keys `package` (version), `machine`, `versions` (of the peers), `load` (what others used before),
`workers`, `rounds`, `quick`, `rows` (of the matrix, where not all were asked for) and `answers`; each answer has
`question`, `about`, `seconds`, `tables`, `promises` (`text`, `value`, `limit`, `at_least`, `kept`) and `numbers`, the
raw ones. `plots` makes docs/benchmarks.md and its figures from such files.
"""
