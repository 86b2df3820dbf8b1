"""`plora ls`: what there is."""

from plora.cli.saying import say


def command() -> None:
    """List the shipped configs and sweeps, the methods, the streams and the heads."""
    from plora.configs import header, shipped_configs, shipped_sweeps
    from plora.methods import METHODS
    from plora.streams import STREAMS

    say("configs (plora run NAME, or plora cp NAME for your own copy)")
    for name, path in shipped_configs().items():
        say(f"  {name:<34} {(header(path) or [''])[0]}")
    say("sweeps (plora sweep NAME)")
    for name, path in shipped_sweeps().items():
        say(f"  {name:<34} {(header(path) or [''])[0]}")
    say("methods (method=…)")
    for method in METHODS.values():
        scenarios = "/".join(name for name in ("task", "class", "domain") if name not in method.refusals)
        say(f"  {method.name:<14} {scenarios:<18} {method.summary}")
    say("streams (stream.kind=…)")
    for kind, source in STREAMS.items():
        say(f"  {kind:<18} {(source.__doc__ or '').strip().splitlines()[0]}")
