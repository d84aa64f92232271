"""Which channel-pruning method, at which budget, keeps the most mIoU?

A run is one chain over one segmentation network::

    train -> prune -> finetune -> eval

``prune`` scores every channel group (``pruner``), turns the scores into a plan that meets a budget
(``budget``), cuts the network (``graph``) and proves the cut. Every stage takes a network state and returns
a new one; results live in a content-addressed store, so that nothing is computed twice.

Read ``app.py`` first.
"""
