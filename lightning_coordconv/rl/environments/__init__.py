"""Registers Atari, MinAtar and find-and-touch in Gymnasium when this package of environments is imported."""

from lightning_coordconv.core.extras import extra

with extra("rl", "agents"):
    import ale_py
    import cv2  # noqa: F401  # SB3's Atari wrappers scale frames with it
    import gymnasium
    import stable_baselines3  # noqa: F401

PACKAGE = "lightning_coordconv.rl.environments"

gymnasium.register_envs(ale_py)
gymnasium.register("lightning_coordconv/FindAndTouch-v0", f"{PACKAGE}.find_and_touch:FindAndTouchEnv")
for _game in ("asterix", "breakout", "freeway", "seaquest", "space_invaders"):
    _name = _game.title().replace("_", "")
    gymnasium.register(
        f"lightning_coordconv/MinAtar{_name}-v0", f"{PACKAGE}.minatar:MinAtarEnv", kwargs={"game": _game}
    )
