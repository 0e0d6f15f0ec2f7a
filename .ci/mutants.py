#!/usr/bin/env python3
"""Hold the mutants of a room against the library's tests: docs/how-to/mutants.md.

cargo-mutants says which mutants there are. All are planted in one copy of the tree, each behind a
number that the environment names, so the library is built once instead of once a mutant. A first
pass notes which functions each test enters; a mutant meets the tests that enter its function, the
quickest first, until one fails.
"""
import argparse, collections, functools, json, os, random, re, resource, shutil, signal
import subprocess, sys, threading, time, tomllib
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "target", "mutants")
TREE = os.path.join(WORK, "tree")
CONFIG = os.path.join(ROOT, ".cargo", "mutants.toml")
# Survivors whose reason is written down, as `name | reason`, one line for each.
LISTED = os.path.join(ROOT, ".cargo", "mutants-survivors.txt")
# Seconds of tests in one process: a mutant that lives meets the next, larger batch.
BATCHES = [0.5, 4, 30, float("inf")]
# A batch that takes longer hangs, which counts as caught.
HANG_SECONDS, HANG_TIMES = 20, 8
# What a mutant may take before that: bytes of one file, bytes of memory.
BOUNDS = {resource.RLIMIT_FSIZE: 1 << 30, resource.RLIMIT_AS: 12 << 30, resource.RLIMIT_CORE: 0}
# Stack of a test in bytes: a function with its mutants takes more than its own.
STACK = 64 << 20

ALLOW = "#![allow(warnings, unused_must_use, unconditional_panic, arithmetic_overflow)]\n"
SWITCH = r'''
/// The mutant that the environment names if it is one of these, else 0.
pub fn mutant_of(first: u32, last: u32) -> u32 {
    use std::sync::atomic::{AtomicBool, Ordering};
    static CHOSEN: std::sync::OnceLock<(u32, bool)> = std::sync::OnceLock::new();
    static SEEN: [AtomicBool; 1 << 16] = [const { AtomicBool::new(false) }; 1 << 16];
    let &(chosen, reach) = CHOSEN.get_or_init(|| {
        let chosen = std::env::var("MUTANT").ok().and_then(|text| text.parse().ok());
        (chosen.unwrap_or(0), std::env::var_os("MUTANT_REACH").is_some())
    });
    if reach && !SEEN[first as usize].swap(true, Ordering::Relaxed) {
        let path = std::env::var_os("MUTANT_REACH").unwrap_or_default();
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let line = format!("{first}\n");
        let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
    }
    if (first..=last).contains(&chosen) { chosen } else { 0 }
}
'''


def ask_cargo(*command, **more):
    return subprocess.run(["cargo", *command], stdout=subprocess.PIPE, text=True, **more)


def key(mutant):
    """The mutant's name without its place, which moves: the room, and what is replaced where."""
    return mutant["file"].split("/")[1] + ": " + mutant["name"].split(": ", 1)[1]


def wanted(args):
    """What cargo-mutants lists, those of one function side by side."""
    command = ["mutants", "--list", "--json", "-p", "countersign"]
    for room in args.rooms:
        command += ["-f", room if room.endswith(".rs") else "src/%s/**" % room]
    for name in ("shard", "in_diff"):
        if getattr(args, name):
            command += ["--" + name.replace("_", "-"), getattr(args, name)]
    mutants = json.loads(ask_cargo(*command, cwd=ROOT, check=True).stdout or "[]")
    if args.again:
        again = set(open(args.again).read().splitlines())
        mutants = [mutant for mutant in mutants if key(mutant) in again]
    if args.sample and args.sample < len(mutants):
        mutants = random.Random(args.seed).sample(mutants, args.sample)
    functions, dropped = collections.defaultdict(list), {}
    for mutant in mutants:
        function = mutant["function"] or {}
        functions[mutant["file"], json.dumps(function.get("span"))].append(mutant)
    mutants = [mutant for group in functions.values() for mutant in group]
    for number, mutant in enumerate(mutants, 1):
        mutant["id"] = number
        if not mutant["function"]:
            dropped[number] = "in a constant"
        elif "impl " in (mutant["function"]["return_type"] or ""):
            dropped[number] = "returns impl"
    for group in functions.values():
        for mutant in group:
            mutant["first"], mutant["last"] = group[0]["id"], group[-1]["id"]
    return mutants, dropped


def copy_tree():
    shutil.rmtree(TREE, ignore_errors=True)
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT,
                           check=True, stdout=subprocess.PIPE, text=True).stdout
    for name in filter(None, names.split("\0")):
        here, there = os.path.join(ROOT, name), os.path.join(TREE, name)
        if os.path.exists(here):
            os.makedirs(os.path.dirname(there), exist_ok=True)
            shutil.copy2(here, there, follow_symlinks=False)


@functools.cache
def original(file):
    """The text as it is when the run begins: it may change while the run goes on."""
    return open(os.path.join(ROOT, file)).read()


def offset(text, line, column):
    """Where a line and a column, both from 1, stand in a text."""
    at = 0
    for _ in range(line - 1):
        at = text.index("\n", at) + 1
    return at + column - 1


def span_in(text, span):
    return tuple(offset(text, span[end]["line"], span[end]["column"]) for end in ("start", "end"))


def body_start(text, at):
    """Where the block of the function that starts here opens."""
    depth = 0
    for found in re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|[(\[]|[)\]]|\{', re.S).finditer(text, at):
        if found[0] == "{" and depth == 0:
            return found.start()
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(found[0], 0)


def plant(mutants, dropped):
    """Plants all but the dropped; returns each file's text and where in it each mutant stands."""
    planted = {}
    for file in sorted({mutant["file"] for mutant in mutants}):
        text, functions = original(file), collections.defaultdict(list)
        for mutant in mutants:
            if mutant["file"] == file and mutant["id"] not in dropped:
                functions[span_in(text, mutant["function"]["span"])].append(mutant)
        new, places, done = "", [], 0
        for (start, end), group in sorted(functions.items()):
            if start < done:
                sys.exit("a function in a function, which this cannot: " + group[0]["name"])
            body = body_start(text, start)
            new += text[done:start] + re.sub(r"\bconst (?=fn\b)", "", text[start:body])
            new += "{ match crate::mutant_of(%d, %d) { " % (group[0]["first"], group[0]["last"])
            for mutant in group:
                changed = mutant["replacement"]
                if mutant["genre"] != "FnValue":
                    one, other = span_in(text, mutant["span"])
                    changed = text[body:one] + changed + text[other:end]
                begun = len(new)
                new += "%d => { %s }, " % (mutant["id"], changed)
                places.append((begun, len(new), mutant["id"]))
            new += "_ => " + text[body:end] + " } }"
            done = end
        planted[file] = (new + text[done:], places)
        open(os.path.join(TREE, file), "w").write(planted[file][0])
    lib, place = original("src/lib.rs"), os.path.join(TREE, "src/lib.rs")
    head = re.match(r"(//!.*\n)*", lib).end()
    open(place, "w").write(lib[:head] + ALLOW + lib[head:] + SWITCH)
    return planted


def guilty(message, planted, mutants):
    """The mutants that this error of the compiler is about."""
    for primary in (True, False):
        found = set()
        for span in (span for span in message["spans"] if span["is_primary"] == primary):
            while span:
                if span["file_name"] in planted:
                    text, places = planted[span["file_name"]]
                    at = offset(text, span["line_start"], span["column_start"])
                    found |= {number for start, end, number in places if start <= at < end}
                span = (span.get("expansion") or {}).get("span")
        if found:
            return found
    # A constant needs it, so it cannot ask the environment.
    name = re.search(r"non-const .*(?:function|method) `(?:.*::)?(\w+)(?:::<.*>)?`", message["message"])
    return {mutant["id"] for mutant in mutants if name and mutant["function"]
            and mutant["function"]["function_name"].split("::")[-1] == name[1]}


def build(mutants, dropped):
    """Drops what does not compile until the rest does; returns the test binary."""
    # A folder of its own: cargo would take what it built from the copy for what is built from here.
    env = dict(os.environ, CARGO_TARGET_DIR=os.path.join(WORK, "build"))
    what = ["--locked", "--lib", "-p", "countersign", "--message-format=json"]
    steps = [["check", "--profile", "test"], ["test", "--no-run"]]
    while steps:
        planted = plant(mutants, dropped)
        made = ask_cargo(*steps[0], *what, cwd=TREE, env=env, stderr=subprocess.DEVNULL)
        said = [json.loads(line) for line in made.stdout.splitlines() if line[:1] == "{"]
        errors = [one["message"] for one in said if one["reason"] == "compiler-message"
                  and one["message"]["level"] == "error"]
        if made.returncode == 0:
            steps.pop(0)
            continue
        bad = set().union(*(guilty(error, planted, mutants) for error in errors)) - set(dropped)
        print("  %d do not compile" % len(bad), flush=True)
        if not bad:
            sys.exit("".join(error["rendered"] for error in errors[:5]) or "the copy does not build")
        dropped.update((number, "does not compile") for number in bad)
    return [one["executable"] for one in said if one.get("executable")][-1]


def run(binary, tests, seconds, **more):
    """Runs these tests in one process; returns the one that failed, if any did."""
    folder = os.path.join(WORK, "tmp", str(threading.get_ident()))
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    env = dict(os.environ, RUSTC_BOOTSTRAP="1", RUST_BACKTRACE="0", RUST_MIN_STACK=str(STACK),
               TMPDIR=folder, PROPTEST_DISABLE_FAILURE_PERSISTENCE="true", **more)
    child = subprocess.Popen(
        [binary, "--exact", "-Zunstable-options", "--fail-fast", *tests], cwd=TREE, env=env,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        preexec_fn=lambda: [resource.setrlimit(what, (most, most)) for what, most in BOUNDS.items()])
    try:
        said, hangs = child.communicate(timeout=seconds)[0], False
    except subprocess.TimeoutExpired:
        hangs = True
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if hangs:
        child.communicate()
        return "(hangs)"
    failed = re.search(r"^test (\S+) .*FAILED", said, re.M)
    return (failed[1] if failed else "(dies)") if child.returncode else None


def reach(binary, args):
    """Which tests enter each function, the quickest first, and the seconds of each test."""
    skip = [] if args.slow else [
        option.removeprefix("--skip=") for option
        in tomllib.load(open(CONFIG, "rb"))["additional_cargo_test_args"] if "--skip=" in option]
    listed = subprocess.run([binary, "--list", "--format=terse"], cwd=TREE, check=True,
                            stdout=subprocess.PIPE, text=True).stdout
    tests = [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]
    tests = [test for test in tests if not any(part in test for part in skip)
             and (not args.tests or any(part in test for part in args.tests))]
    shutil.rmtree(os.path.join(WORK, "reach"), ignore_errors=True)
    os.makedirs(os.path.join(WORK, "reach"))

    def one(test):
        path, begun = os.path.join(WORK, "reach", test), time.monotonic()
        failed = run(binary, [test], 900, MUTANT_REACH=path)
        entered = open(path).read().split() if os.path.exists(path) else []
        return test, failed, time.monotonic() - begun, set(map(int, entered))

    reached, seconds = collections.defaultdict(list), {}
    with ThreadPoolExecutor(args.jobs) as pool:
        for test, failed, seconds[test], entered in pool.map(one, tests):
            if failed:
                print("  left out, since it fails without a mutant: " + test, flush=True)
            for first in () if failed else entered:
                reached[first].append(test)
    for tests in reached.values():
        tests.sort(key=seconds.get)
    return reached, seconds


def verdict(binary, mutant, tests, seconds):
    begun = 0
    for room in BATCHES:
        end, spent = begun, 0
        while end < len(tests) and (end == begun or spent + seconds[tests[end]] <= room):
            spent += seconds[tests[end]]
            end += 1
        if end == begun:
            break
        killer = run(binary, tests[begun:end], HANG_SECONDS + HANG_TIMES * spent, MUTANT=str(mutant["id"]))
        if killer:
            return "caught", killer
        begun = end
    return "survived", "%d tests" % len(tests)


def main():
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("rooms", nargs="+", help="account, crypto, log, engine, or a file of one")
    ask.add_argument("--shard", help="k/n, as cargo-mutants counts")
    ask.add_argument("--in-diff", type=os.path.abspath, help="only the lines that this diff touches")
    ask.add_argument("--sample", type=int, help="so many, drawn at random")
    ask.add_argument("--seed", type=int, default=1, help="of the sample")
    ask.add_argument("--again", help="only those that this file names, as survived.txt does")
    ask.add_argument("--tests", action="append", help="only tests with this in their name")
    ask.add_argument("--slow", action="store_true", help="with the tests that mutants.toml skips")
    ask.add_argument("--jobs", type=int, default=2, help="how many processes run tests")
    args = ask.parse_args()
    (mutants, dropped), counts = wanted(args), collections.Counter()
    print("%d mutants" % len(mutants), flush=True)
    copy_tree()
    binary = shutil.copy2(build(mutants, dropped), os.path.join(WORK, "tests"))
    print("built", flush=True)
    reached, seconds = reach(binary, args)
    print("%d tests, %d s" % (len(seconds), sum(seconds.values())), flush=True)
    lines = open(LISTED).read().splitlines() if os.path.exists(LISTED) else []
    left = collections.Counter(line.rsplit(" | ", 1)[0] for line in lines)
    with ThreadPoolExecutor(args.jobs) as pool, open(os.path.join(WORK, "results.txt"), "w") as results, \
            open(os.path.join(WORK, "survived.txt"), "w") as survived:
        verdicts = pool.map(lambda one: (dropped[one["id"]], "-") if one["id"] in dropped else verdict(
            binary, one, reached[one["first"]], seconds), mutants)
        for mutant, (said, why) in zip(mutants, verdicts):
            if said == "survived":
                left[key(mutant)] -= 1
                said += ", listed" if left[key(mutant)] >= 0 else ""
                print(key(mutant), file=survived, flush=True)
            if said == "survived":
                print("  survived %s: %s" % (why, mutant["name"]), flush=True)
            print(said, why, mutant["name"], sep="\t", file=results, flush=True)
            counts[said] += 1
    print(dict(counts))
    sys.exit(counts["survived"] > 0)


if __name__ == "__main__":
    main()
