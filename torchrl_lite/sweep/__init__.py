"""Many runs at once: on Ray (an optional package), or as processes of this machine."""
