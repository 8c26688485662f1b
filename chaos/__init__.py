"""`make chaos`: the product as real processes under faults, and a reckoning that uses none of its code.

run.py starts everything, carries out the schedule of faults.py and asks reconcile.py for the verdict. The receivers
(receivers.py), the senders (load.py) and the people (people.py) know the product by its documentation alone.
"""
