"""What `labelcast-server doctor` checks: everything that could keep a service from running well.

It changes nothing and knows no command line: the caller prints.
"""
