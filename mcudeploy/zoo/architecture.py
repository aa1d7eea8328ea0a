# SPDX-License-Identifier: Apache-2.0
"""An architecture as a value: its options, how it is written down, what its paper claims."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mcudeploy.errors import InputError
from mcudeploy.zoo.claims import Claim
from mcudeploy.zoo.net import Net, Network, Value

OptionValue = int | float | str | bool


@dataclass(frozen=True)
class Option:
    """One choice that a member of a family makes.

    `default` sets the type. `choices` are all that is allowed; without them a number lies in
    `low` to `high`. `members` are the values that the paper gives, or that exploring tries.
    """

    name: str
    default: OptionValue
    help: str
    choices: tuple[OptionValue, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    members: tuple[OptionValue, ...] = ()

    @property
    def axis(self) -> tuple[OptionValue, ...]:
        """The values along which the family extends."""
        return self.members or self.choices or (self.default,)

    def check(self, value: Any, where: str) -> OptionValue:
        """`value` in this option's type. Raises InputError when it is not allowed."""
        wanted = type(self.default)
        whole = not isinstance(value, float) or value.is_integer()
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = (number and whole) if wanted is int else number if wanted is float else (
            isinstance(value, wanted)
        )  # fmt: skip
        if fits and number and not math.isfinite(value):
            fits = False
        if not fits:
            raise InputError(
                f"{self.name} must be {_TYPES[wanted]}, not {value!r}", where=where, mend=self.help
            )
        value = wanted(value)
        if self.choices and value not in self.choices:
            raise InputError(
                f"{self.name} {value!r} is not offered", where=where,
                mend=f"choose one of {', '.join(map(str, self.choices))}",
            )  # fmt: skip
        if number and not self.low <= value <= self.high:
            raise InputError(
                f"{self.name} {value} is out of range", where=where,
                mend=f"choose {self.low:g} to {self.high:g}",
            )  # fmt: skip
        return value  # type: ignore[no-any-return]


_TYPES: Mapping[type, str] = {
    int: "a whole number", float: "a number", str: "a word", bool: "true or false",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Architecture:
    """One row of the zoo: `write` puts its layers into a `Net`, given all of `options`."""

    name: str
    family: str
    title: str
    paper: str
    write: Callable[..., Value]
    options: tuple[Option, ...]
    claims: tuple[Claim, ...] = ()

    def complete(self, options: Mapping[str, Any]) -> dict[str, OptionValue]:
        """All options, checked, defaults filled in.

        Raises InputError for an unknown option (the nearest names are offered) or a bad value.
        """
        where = f"zoo architecture {self.name}"
        known = {option.name: option for option in self.options}
        for name in options:
            if name not in known:
                raise InputError(
                    f"{self.name} has no option {name!r}", where=where,
                    mend=nearest(name, tuple(known)),
                )  # fmt: skip
        return {
            name: option.check(options.get(name, option.default), where)
            for name, option in known.items()
        }

    def network(self, **options: Any) -> Network:
        """The layers of the member with these options."""
        net = Net(self.name)
        return net.finish(self.write(net, **self.complete(options)))

    def members(self) -> Iterator[dict[str, OptionValue]]:
        """The options of every member that the paper (or exploring) names, defaults first."""
        combinations: list[dict[str, OptionValue]] = [{}]
        for option in self.options:
            combinations = [{**c, option.name: v} for c in combinations for v in option.axis]
        yield from combinations


def nearest(name: str, known: tuple[str, ...]) -> str:
    """A mend that offers the names nearest to a mistyped one."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"choose one of {', '.join(sorted(known))}"


def classes(default: int = 1000) -> Option:
    """The size of the classifier."""
    return Option("classes", default, "number of classes", low=2, high=100_000)


def resolution(default: int, *members: int, low: int = 1) -> Option:
    """The side of the square input image."""
    return Option(
        "resolution", default, "side of the square input, pixels", low=low, high=4096,
        members=members,
    )  # fmt: skip


def channels(default: int = 3) -> Option:
    """Colours of the input image."""
    return Option("channels", default, "channels of the input image", low=1, high=256)


def width(*members: float) -> Option:
    """The width multiplier of a family."""
    return Option("width", 1.0, "multiplies the channels of every layer", low=0.05, high=4.0,
                  members=members)  # fmt: skip
