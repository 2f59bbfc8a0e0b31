"""``python -m alignment``: prove that the networks equal their originals. See ``alignment/README.md``."""
from __future__ import annotations

import argparse
import sys

from alignment import golden
from alignment.bundle import Bundle, find_bundles


def golden_command(arguments: list[str]) -> int:
    """Run golden bundles; the exit status is 1 if a key failed or was not produced, 2 for unusable arguments."""
    parser = argparse.ArgumentParser(prog="python -m alignment golden",
                                     description="recorded values of the originals against ours")
    parser.add_argument("folders", nargs="+", metavar="DIR", help="a bundle, or a folder with bundles below it")
    parser.add_argument("--side", choices=("paddle", "torch"), default="paddle",
                        help="our network, or our torch twin")
    parser.add_argument("--only", action="append", metavar="STAGE", help="this stage only (may be repeated)")
    parser.add_argument("--dump", metavar="FILE.npz", help="write what was computed, under the bundle's keys")
    parser.add_argument("--quiet", action="store_true", help="print failures and totals only")
    options = parser.parse_args(arguments)
    try:
        bundles = [Bundle.read(folder) for folder in find_bundles(*options.folders)]
        if options.dump and len(bundles) != 1:
            raise ValueError(f"--dump takes one bundle, found {len(bundles)} below {', '.join(options.folders)}")
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    failed = 0
    for bundle in bundles:
        title = f"{bundle.manifest['system']}/{bundle.manifest['case']} ({options.side})"
        try:
            result = golden.run_bundle(bundle, options.side, options.only)
        except ValueError as error:
            parser.error(str(error))
        except RuntimeError as error:
            print(f"{title}: {error}", file=sys.stderr)
            failed += 1
            continue
        for stage, error in result.errors.items():
            print(f"{title}: stage {stage} stopped:\n{error}", file=sys.stderr)
        print_verdicts(title, result.verdicts, options.quiet)
        failed += not result.passed
        if options.dump:
            golden.dump(result, options.dump)
    return 1 if failed else 0


def print_verdicts(title: str, verdicts, quiet: bool = False) -> None:
    """A line per key: relative error, what is allowed, verdict; then the totals."""
    print(f"== {title}")
    for verdict in verdicts:
        if verdict.passed and quiet:
            continue
        word = "ok  " if verdict.passed else "FAIL"
        reason = f"  [{verdict.reason}]" if verdict.reason else ""
        detail = "" if verdict.passed else f"  {verdict.finding}: {verdict.detail}"
        print(f"{word} {verdict.relative:9.2e} allowed {verdict.allowed:8.1e}  {verdict.key}{reason}{detail}")
    bad = sum(not verdict.passed for verdict in verdicts)
    print(f"{title}: {len(verdicts) - bad} passed, {bad} failed", flush=True)


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["golden"]:
        return golden_command(arguments[1:])
    if arguments[:1] == ["record"]:
        from alignment.record import record_command
        return record_command(arguments[1:])
    if arguments[:1] == ["faults"]:
        from alignment.faults.run import faults_command
        return faults_command(arguments[1:])
    if arguments[:1] == ["upstream"]:
        from alignment.upstream.command import upstream_command
        return upstream_command(arguments[1:])
    if arguments[:1] == ["padiff"]:
        from alignment.padiff_check import padiff_command
        return padiff_command(arguments[1:])
    from alignment.align import align_command
    return align_command(arguments)


if __name__ == "__main__":
    sys.exit(main())
