"""The viewer: every rollout of one or several runs in a browser on this machine."""
