# SPDX-License-Identifier: Apache-2.0
"""No plan leaves the planner's hands unless the independent checker finds nothing."""

from __future__ import annotations

from mcudeploy.errors import PlanError
from mcudeploy.memory.checker import check_plan
from mcudeploy.memory.plan import Plan


def demand_sound(plan: Plan, what: str = "the memory plan", where: str = "") -> None:
    """Raises PlanError that names the first faults, if there are any; `what` the plan is of."""
    faults = check_plan(plan)
    if faults:
        raise PlanError(
            f"the independent checker refused {what}: " + "; ".join(faults[:3]),
            where=where,
            mend="this is a defect of mcudeploy; please report it with the model",
        )
