"""What runs Ratchet elsewhere: accelerate's configurations, and scripts that set up a checkout.

Code that needs one of these files finds it through `importlib.resources`; only the configurations are installed.
"""
