"""doit used safely: the checker, the state, the board, the pool, and how a task fails."""

import errno
import json
import os
from pathlib import Path

import pytest
from doit.cmd_base import ModuleTaskLoader
from doit.dependency import JSONCodec
from doit.doit_cmd import DoitMain
from doit.exceptions import TaskError, TaskFailed

from hostwright.base import jobs, run, times
from hostwright.base.errors import UserError
from hostwright.tasks import define, host, recipes, variables
from hostwright.tasks.board import Board
from hostwright.tasks.state import Checker, State
from hostwright.tasks.times import expected_times, remember
from hostwright.upkeep import draft


def test_an_equal_time_stamp_does_not_hide_a_change(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("one")
    os.utime(file, (5, 5))
    state = Checker().get_state(str(file), None)
    assert state is not None
    file.write_text("two")
    os.utime(file, (5, 5))
    assert Checker().check_modified(str(file), file.stat(), state)


def test_doit_is_given_the_checker() -> None:
    assert host.CONFIG["check_file_uptodate"] is Checker


def test_a_touched_file_is_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("one")
    state = Checker().get_state(str(file), None)
    assert state is not None
    os.utime(file, (5, 5))
    assert not Checker().check_modified(str(file), file.stat(), state)


def test_the_state_file_is_never_half_written(tmp_path: Path) -> None:
    state = State(str(tmp_path / "state.json"), JSONCodec())
    state.set("task", "key", "value")
    state.dump()
    inode = (tmp_path / "state.json").stat().st_ino
    state.set("task", "key", "other")
    state.dump()
    assert (tmp_path / "state.json").stat().st_ino != inode
    assert State(str(tmp_path / "state.json"), JSONCodec()).get("task", "key") == "other"


def test_an_unreadable_state_is_started_anew(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"half')
    assert State(str(tmp_path / "state.json"), JSONCodec()).get("task", "key") is None


def guarded(error: Exception | None) -> TaskError | TaskFailed | None:
    def act() -> None:
        if error:
            raise error

    return define._guarded(act, counted=False)


def test_a_mistake_is_an_error_without_a_traceback() -> None:
    outcome = guarded(UserError("what", "do this"))
    assert isinstance(outcome, TaskError)
    assert outcome.get_msg().rstrip() == "what\n  hint: do this"


def test_what_the_system_refuses_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    outcome = guarded(OSError(errno.EROFS, "Read-only file system", str(tmp_path / "f")))
    assert isinstance(outcome, TaskError)
    assert outcome.get_msg().startswith(f"{tmp_path}/f: Read-only file system\n  hint: ")


def test_any_other_error_of_a_file_keeps_its_traceback() -> None:
    with pytest.raises(FileNotFoundError):
        guarded(FileNotFoundError(errno.ENOENT, "gone", "f"))


def test_a_failed_program_fails_the_task(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run.stream(["sh", "-c", "seq 1 100; exit 3"], log) == 3
    outcome = guarded(run.ProgramError("building", 3, log, run.tail(log)))
    assert isinstance(outcome, TaskFailed)
    message = outcome.get_msg()
    assert "building ended with status 3" in message and str(log) in message
    assert "    71\n" in message and "    70\n" not in message


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (["add", "zlib"], [("zlib", "")]),
        (["add", "name=zlib", "as=z"], [("zlib", "z")]),
        (["add"], []),
        (["add", "zlib", "xz"], []),
        (["add", "zlib", "name=xz"], []),
    ],
)
def test_words_behind_a_task_reach_it(
    words: list[str], called: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def add(name: str, recipe_name: str, mirrors: object, note: object) -> list[str]:
        seen.append((name, recipe_name))
        return []

    monkeypatch.setattr(draft, "add", add)
    monkeypatch.setenv("HOSTWRIGHT_MIRROR", "http://127.0.0.1:1")
    settings = {
        "dep_file": str(tmp_path / "state"),
        "num_process": 1,
        "par_type": "thread",
        "reporter": "zero",
    }
    tasks = {"task_add": lambda: recipes.add() | {"task_dep": []}, "DOIT_CONFIG": settings}
    status = DoitMain(ModuleTaskLoader(tasks), config_filenames=()).run(words)
    assert seen == called
    assert (status == 0) == bool(called)


def test_our_own_mistake_keeps_its_traceback() -> None:
    with pytest.raises(KeyError):
        guarded(KeyError("ours"))


def test_the_pool_holds_one_token_a_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jobs, "jobs", lambda: 2)
    jobs.close()
    try:
        with jobs.token(), jobs.token():
            reader = os.open(jobs.folder() / "pool", os.O_RDONLY | os.O_NONBLOCK)
            with pytest.raises(BlockingIOError):
                os.read(reader, 1)
            os.close(reader)
    finally:
        jobs.close()
    assert list((tmp_path / "hostwright/run").iterdir()) == []


def test_the_pool_of_a_killed_run_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ended = tmp_path / "hostwright/run/jobs-4194305-x"
    running = tmp_path / f"hostwright/run/jobs-{os.getpid()}-x"
    for place in (ended, running):
        place.mkdir(parents=True)
    jobs.close()
    jobs.folder()
    jobs.close()
    assert not ended.exists() and running.exists()


def test_times_are_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remember("kernel", 12.34)
    remember("kernel", 0.4)
    assert expected_times()["kernel"] == 12.3
    (tmp_path / "hostwright/times.json").write_text("{")
    assert expected_times()["kernel"] > 60
    remember("kernel", 5)
    assert json.loads((tmp_path / "hostwright/times.json").read_text()) == {"kernel": 5}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (245, "4 min 05 s"), (3720, "1 h 02 min")]
)
def test_times_read_as_people_say_them(seconds: float, text: str) -> None:
    assert times.clock(seconds) == text


def test_what_is_left_counts_running_and_waiting_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    board = Board()
    board.expected = {"a": 100, "b": 50, "c": 10}
    board.waiting = {"b", "c"}
    board.start("a")
    assert 155 < board.remaining(jobs=1) <= 160
    assert 99 < board.remaining(jobs=2) <= 100
    board.end("a")
    assert board.remaining(jobs=1) == 60


def test_a_bar_needs_a_total() -> None:
    assert times.bar(5_000_000, 10_000_000) == "[##########..........] 5.0 of 10.0 MB"
    assert times.bar(5_000_000, 0) == "5.0 MB"


@pytest.mark.parametrize(("name", "said"), [("", "package=NAME"), ("nosuch", 'no recipe "nosuch"')])
def test_a_shell_needs_a_package(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "get_var", lambda _name, _default: name)
    with pytest.raises(UserError) as caught:
        recipes._shell()
    assert said in str(caught.value)
