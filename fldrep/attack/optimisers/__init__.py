"""What moves a trial image: one file an optimiser.

An optimiser is a class with the section `Settings`, its keys, and `solve(problems, settings, progress) -> Outcome`, of
`problem.Problems`, `problem.Progress` and `problem.Outcome`; `settings` has its keys and those of every attack, such as
`iterations`. It may have `refusals(problems, settings) -> [str]`: for each problem why it cannot be solved, empty where
it may be; these are asked before anything is worked. What its decorator may say besides: `config.parts.words`.
"""
