"""The contracts of a store in a Redis of 6.2 or later.

Durability: a reply means "in the append-only file, as its appendfsync says". A transition of the
catalog also waits until every connected replica has everything. Under appendfsync everysec a crash
of the machine may lose the last second; the embedded Redis uses always.
"""
