"""Environments by the vector for agents: backends, what of them can be saved, and one of our own."""

from lightning_coordconv.core.extras import extra

with extra("rl", "agents"):
    import ale_py
    import cv2  # noqa: F401  # what SB3's Atari wrappers scale frames with
    import gymnasium
    import stable_baselines3  # noqa: F401

gymnasium.register_envs(ale_py)
gymnasium.register(
    "lightning_coordconv/FindAndTouch-v0", "lightning_coordconv.rl.environments.find_and_touch:FindAndTouchEnv"
)
