"""The algorithm of Joachims' transductive SVM: ``hinge``, ``solvers``, ``shares``, ``switching``, ``annealing``.

Each module may import those before it. The estimator is ``skdgm.TransductiveSVC``.
"""
