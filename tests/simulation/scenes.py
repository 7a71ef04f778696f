"""What people do in the simulated world; each scene is run without faults, and with every single fault."""

from world import Script

ONE = ((0.0, "m1"),)
TWO = ((0.0, "m1"), (3.0, "m2"))
THREE = ((0.0, "m1"), (3.0, "m2"), (40.0, "m3"))
BATCH = ((0.0, "m1"), (3.0, "m2"), (3.1, "m3"))
FOREVER = 1e9

SCENES: dict[str, Script] = {
    "plain": Script(messages=ONE, rounds=0),
    "one": Script(messages=ONE),
    "two": Script(messages=TWO, within=45),
    "three": Script(messages=THREE),
    "batch": Script(messages=BATCH),
    "parts": Script(messages=ONE, parts=2),
    "parts of two": Script(messages=TWO, parts=2),
    "large": Script(messages=ONE, large=True),
    "large ones of two": Script(messages=TWO, large=True),
    "poison": Script(messages=THREE, poison=("m1",)),
    "poison in a batch": Script(messages=BATCH, poison=("m2",)),
    "poison after its tools": Script(messages=TWO, poison=("m1",), poison_round=1),
    "storm": Script(messages=ONE, rounds=6, storm=2, think=3),  # every step is killed twice: 14 take-overs
    "killed while it thinks": Script(messages=ONE, kill_thinking=(1, 4.0)),  # once, 4 s into the model call after the tools
    "long": Script(messages=ONE, rounds=6, think=400),  # 47 minutes: handed over
    "erased": Script(messages=((0.0, "m1"), (310.0, "m2")), erase=300),  # the same conversation, a new transcript
    "tasks down": Script(messages=TWO, down=("tasks", 1, 300)),
    "documents down": Script(messages=THREE, down=("fs", 1, 300)),
    "documents away": Script(
        messages=THREE, away=(0, 300), within=100
    ),  # from the first message on: T alone knows of the conversation
    "documents away in a turn": Script(
        messages=ONE, think=30, away=(6, 306), within=66
    ),  # its owner has the lease, and goes on
    "documents back in a turn": Script(messages=((0.0, "m1"), (45.0, "m2")), think=40, away=(0, 20), within=180),
    "poison while the documents are away": Script(messages=ONE, poison=("m1",), away=(0, 5000)),
    "documents gone": Script(messages=TWO, away=(0, FOREVER), within=60),
    "long and swept": Script(messages=ONE, rounds=2, think=200, sweep=20),
    "hangs while it thinks": Script(messages=ONE, hang_thinking=(1, 4.0), sweep=30, within=185),
    "hangs, and another comes": Script(messages=((0.0, "m1"), (20.0, "m2")), hang_thinking=(1, 4.0), sweep=30),
    "bucket down": Script(messages=THREE, down=("gcs", 1, 300)),
    "slow trouble": Script(messages=ONE, down=("llm", 0, 1200)),  # 20 minutes of hand-overs
    "slack down": Script(messages=THREE, down=("slack", 0, 1200)),
    "model down": Script(messages=TWO, down=("llm", 0, 100)),
    "model dead": Script(messages=ONE, down=("llm", 0, FOREVER), poison=("m1",), dead_model=True),  # the apology, after an hour
    "archived": Script(messages=TWO, refuse=0),  # Slack refuses every reservation for good
    "archived meanwhile": Script(messages=TWO, refuse=5),
}
