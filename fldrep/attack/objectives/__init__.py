"""How far the gradient of a trial image is from the one observed: one file an objective.

An objective is a function `(trial, observed) -> (distance, derivative)` of gradients {name: (P, ...)}: distance (P,),
and its derivative by the trial, {name: (P, ...)} for every name of `observed`; or the distance alone, and autograd
finds the derivative, at twice the cost. Entries that are not compared are 0 in both; what it says of them does not
count. Its annotated keyword-only parameters are keys of the config.
"""
