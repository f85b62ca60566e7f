"""Views drawn from a policy and two integers."""
