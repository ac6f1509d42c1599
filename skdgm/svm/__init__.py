"""Joachims' transductive SVM without its estimator: ``hinge``, ``solvers``, ``shares``, ``switching``, ``annealing``.

Each may import those before it.
"""
