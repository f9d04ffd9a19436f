"""The commands, one module a group."""

from __future__ import annotations

import typer

from zt_engine.cli import agent, audit, control, decide, demo, device, hook, init, policy, sidecar

app = typer.Typer(
    name="zt",
    help="Zero-trust access policy engine: an authorization sidecar for reverse proxies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("init")(init.init)
app.command("decide")(decide.decide)
app.command("demo")(demo.demo)
app.add_typer(agent.app, name="agent", help="Enroll this machine as a device, and keep its posture known.")
app.add_typer(control.app, name="control", help="Run the control plane: devices, directory, situation.")
app.add_typer(device.app, name="device", help="Approve, quarantine, revoke and invite devices.")
app.add_typer(sidecar.app, name="sidecar", help="Run the data plane.")
app.add_typer(hook.app, name="hook", help="Print what a reverse proxy needs.")
app.add_typer(policy.app, name="policy", help="Check, test and build policy.")
app.add_typer(audit.app, name="audit", help="Verify and replay the decision log.")
