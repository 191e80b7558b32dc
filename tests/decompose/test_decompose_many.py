"""Training at scale: one pass for many, from a live subject, exact resume after kill -9, two processes, trackers."""

import io
import multiprocessing
import os
import signal
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file

import microtome as mt
from microtome.decompose import Live, Recipe, Recovered, topk_sae, train_many
from microtome.decompose.batch_topk_sae import BatchTopK
from microtome.decompose.checkpoint import load_checkpoint
from microtome.decompose.relu_sae import ReLU
from microtome.decompose.sources import FromRecording
from microtome.decompose.topk_sae import TopK
from microtome.decompose.trackers import Console, tracker_of
from microtome.errors import Degenerate, IntegrityError, NonFinite, SubjectMismatch, UsageError
from microtome.organisms.small import decoder
from microtome.subject.inputs import as_inputs
from microtome.subject.recording import Recording

SITE, OUT = "blocks.0.resid_post", "blocks.1.mlp.out"


def recording(rows=600):
    g = torch.Generator().manual_seed(0)
    return Recording.of({s: torch.randn(rows, 8, generator=g) for s in ("a", "b")})


def recipes():
    return {
        "small": Recipe(TopK(2), 12, reads="a", lr=0.01), "wide": Recipe(TopK(3), 24, reads="b", seed=1, lr=0.01),
        "relu": Recipe(ReLU(1.0), 12, reads="a", lr=0.01), "batch": Recipe(BatchTopK(2), 12, reads="a", lr=0.01),
        "across": Recipe(TopK(2, centred=False), 12, reads="a", writes="b", lr=0.01),
    }  # fmt: skip


def test_each_of_many_is_what_it_is_alone():
    rec = recording()
    together = train_many(rec, recipes(), steps=40, batch=64, seed=3)
    for name, recipe in recipes().items():
        alone = train_many(rec, {name: recipe}, steps=40, batch=64, seed=3)[name]
        assert alone.fingerprint == together[name].fingerprint
    by_method = topk_sae(rec["a"], latents=12, k=2, steps=40, batch=64, lr=0.01, seed=0)
    single = train_many(rec, {"x": Recipe(TopK(2), 12, reads="a", lr=0.01)}, steps=40, batch=64, seed=0)["x"]
    assert torch.equal(by_method.W_enc, single.W_enc)


@pytest.fixture(scope="module")
def subject():
    return mt.Subject(decoder(19, layers=3, heads=2, width=16, context=12))


@pytest.fixture(scope="module")
def ids():
    return torch.randint(0, 19, (120, 12), generator=torch.Generator().manual_seed(1))


def live(subject, ids, **changes):
    return Live(subject, as_inputs(ids), [SITE, OUT], **{"buffer": 400, "forward": 8, "skip": 1} | changes)


def test_a_live_pass_shows_every_row_once_and_mixes_samples(subject, ids):
    source = live(subject, ids)
    whole = subject.record(as_inputs(ids), [SITE])
    known = {row.numpy().tobytes(): int(s) for row, s in zip(whole.matrix(), whole.index["sample"])}
    first = whole.index["position"].to_numpy() == 0
    seen, spread = [], []
    for n, rows in zip(range(40), source.rows([SITE, OUT], 16, 5, 0)):
        found = [known[row.numpy().tobytes()] for row in rows[SITE]]
        seen += [row.numpy().tobytes() for row in rows[SITE]]
        spread.append(len(set(found)))
        assert rows[OUT].shape == (16, 16), n
    there = Counter(row.numpy().tobytes() for row in whole.matrix())
    assert all(times <= there[row] for row, times in Counter(seen).items())  # 640 of 1320: none twice within a pass
    assert min(spread) >= 8
    assert not set(seen) & {row.numpy().tobytes() for row in whole.matrix()[torch.from_numpy(first)]}


def test_live_rows_after_a_resume_are_those_of_an_uninterrupted_stream(subject, ids):
    source = live(subject, ids)
    stream, marks, batches = source.rows([SITE], 32, 0, 0), [], []
    for _ in range(25):
        batches.append(next(stream)[SITE])
        marks.append(source.mark)
    assert marks[-1][0] >= 3
    for start in (1, 7, 24):
        again = live(subject, ids)
        again.mark = marks[start - 1]
        assert torch.equal(next(again.rows([SITE], 32, 0, start))[SITE], batches[start])


def test_live_training_equals_itself_resumes_and_counts_forwards(subject, ids, tmp_path, monkeypatch):
    made = {"res": Recipe(TopK(2), 24, reads=SITE, lr=0.01), "mlp": Recipe(TopK(2), 24, reads=OUT, lr=0.01)}
    settings = {"steps": 30, "batch": 64}
    calls = []
    run = mt.Subject.run
    monkeypatch.setattr(mt.Subject, "run", lambda *a, **k: (calls.append(1), run(*a, **k))[1])
    one = train_many(live(subject, ids), {"res": made["res"]}, **settings)
    alone = len(calls)
    calls.clear()
    both = train_many(live(subject, ids), made, **settings)
    assert len(calls) == alone  # one forward serves both
    assert one["res"].fingerprint == both["res"].fingerprint
    assert one["res"].subject == subject.fingerprint()
    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        train_many(live(subject, ids), made, **settings, checkpoint=folder, every=7, tracker=lambda f, s: 1 / (s < 17))
    resumed = train_many(live(subject, ids), made, **settings, checkpoint=folder, every=7)
    assert {n: b.fingerprint for n, b in resumed.items()} == {n: b.fingerprint for n, b in both.items()}
    assert resumed["res"].training.equals(both["res"].training)


def train_in(folder, done, kill_at):
    """Child process: trains with checkpoints, kills itself at an update, or reports the fingerprints."""
    torch.set_num_threads(1)

    def die(_figures, step):
        if kill_at and step >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    out = train_many(recording(), few(), steps=120, batch=64, seed=3, checkpoint=folder, every=30, tracker=die)
    done.put({name: basis.fingerprint for name, basis in out.items()})


def few():
    return {name: recipes()[name] for name in ("small", "batch")}


def children():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["microtome.decompose", "pandas"])
    return context


@pytest.fixture
def one_thread():
    """As in the children: sums of products depend on the number of threads in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_training_killed_three_times_ends_with_the_same_bytes(tmp_path):
    context, folder = children(), tmp_path / "run"
    done = context.Queue()
    for kill_at in (35, 65, 95, 0):
        child = context.Process(target=train_in, args=(folder, done, kill_at))
        child.start()
        if kill_at:
            child.join()
            assert child.exitcode == -signal.SIGKILL
            assert newest(folder) == kill_at // 30 * 30
    found = done.get(timeout=120)
    child.join()
    want = train_many(recording(), few(), steps=120, batch=64, seed=3)
    assert found == {name: basis.fingerprint for name, basis in want.items()}


def newest(folder):
    steps = [int(path.stem.removeprefix("state-")) for path in folder.glob("state-*.json")]
    return max(steps, default=0)


def test_damaged_and_foreign_checkpoints(tmp_path):
    rec, folder = recording(), tmp_path / "run"
    settings = {"steps": 30, "batch": 64, "checkpoint": folder, "every": 10}
    want = train_many(rec, recipes(), **settings)["small"].fingerprint
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) == 2
    files[-1].write_bytes(files[-1].read_bytes()[:-8])  # the newest is cut: the one before serves
    assert train_many(rec, recipes(), **settings)["small"].fingerprint == want
    with pytest.raises(SubjectMismatch, match="another training"):
        train_many(rec, recipes(), **settings | {"steps": 31})
    for file in folder.glob("*.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(IntegrityError, match="no checkpoint"):
        train_many(rec, recipes(), **settings)
    assert load_checkpoint(tmp_path / "none", [], "x") == (0, (0, 0))


def test_a_training_that_diverges_says_so_and_keeps_the_last_good_checkpoint(tmp_path):
    wild = {"wild": Recipe(ReLU(1.0), 12, reads="a", lr=1e25)}
    with pytest.raises(NonFinite):
        train_many(recording(), wild, steps=400, batch=64, checkpoint=tmp_path, every=2)
    for file in tmp_path.glob("*.safetensors"):
        assert all(bool(torch.isfinite(t).all()) for name, t in load_file(file).items() if "/p/" in name)


def worker(rank, port, done):
    """One of two data-parallel processes."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    out = train_many(doubles(), two(), steps=25, batch=64, seed=3)
    done.put((rank, {n: {k: v.numpy() for k, v in b.tensors().items()} for n, b in out.items()}, out["relu"].metrics))
    dist.destroy_process_group()


def doubles():
    rec = recording()
    return Recording.of({s: rec[s].matrix().double() for s in rec.sites})


def two():
    return {"topk": Recipe(TopK(2, 0), 12, reads="a", lr=0.01), "relu": Recipe(ReLU(1.0), 12, reads="b", lr=0.01)}


def test_two_processes_train_what_one_does():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = children()
    done = context.Queue()
    pair = [context.Process(target=worker, args=(rank, port, done)) for rank in range(2)]
    for process in pair:
        process.start()
    found = {rank: (tensors, metrics) for rank, tensors, metrics in (done.get(timeout=120) for _ in pair)}
    for process in pair:
        process.join()
    want = train_many(doubles(), two(), steps=25, batch=64, seed=3)
    for name, basis in want.items():
        for part, value in basis.tensors().items():
            torch.testing.assert_close(torch.from_numpy(found[0][0][name][part]), value, rtol=1e-6, atol=1e-8)
            assert (found[0][0][name][part] == found[1][0][name][part]).all()
    assert found[0][1]["fvu"] == pytest.approx(want["relu"].metrics["fvu"], rel=1e-6)


class Board:
    def __init__(self):
        self.rows = []

    def add_scalar(self, name, value, step):
        self.rows.append((name, value, step))


def test_figures_go_to_trackers_of_every_kind(subject, ids):
    source, board, lines = live(subject, ids), Board(), []
    recipe = {"res": Recipe(TopK(2), 24, reads=SITE, lr=0.01), "mlp": Recipe(TopK(2, centred=False), 24, SITE, OUT)}
    judge = Recovered(subject, as_inputs(ids[:16]))
    out = train_many(source, recipe, steps=20, batch=64, tracker=board, judge=judge)
    names = {name for name, _, _ in board.rows}
    assert names == {f"{r}/{c}" for r in recipe for c in ("loss", "fvu", "l0", "dead", "ce_increase", "loss_recovered")}
    assert out["res"].metrics["loss_recovered"] == [v for n, v, s in board.rows if n == "res/loss_recovered"][-1]
    assert out["res"].metrics["fvu"] == out["res"].training["fvu"].iloc[-1]
    text = io.StringIO()
    for target in (
        Console(text),
        lambda f, s: lines.append(s),
        type("M", (), {"log_metrics": lambda _, f, step: lines.append(step)})(),
    ):
        tracker_of(target).log({"a/fvu": 0.5}, step=7)
    assert lines == [7, 7]
    assert "0.5" in text.getvalue()
    with pytest.raises(UsageError, match="tracker"):
        tracker_of(3)


def test_recovered_loss_against_edits_made_by_hand(subject, ids):
    judge, inputs = Recovered(subject, as_inputs(ids[:16]), batch=5), as_inputs(ids[:16])
    sae = topk_sae(subject.record(as_inputs(ids), [SITE]), latents=24, k=3, steps=50, batch=64)

    def loss(logits):
        return float(torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).double(), ids[:16, 1:].flatten()))

    clean, zero = subject.run(inputs), subject.run(inputs, edits=[mt.ablate(SITE, how="zero")])
    put = subject.run(inputs, edits=[mt.patch(SITE, sae(subject.run(inputs, record=[SITE])[SITE]))])
    found = judge({"sae": sae})
    assert found["sae/ce_increase"] == pytest.approx(loss(put.logits) - loss(clean.logits), abs=1e-6)
    share = (loss(zero.logits) - loss(put.logits)) / (loss(zero.logits) - loss(clean.logits))
    assert found["sae/loss_recovered"] == pytest.approx(share, rel=1e-4)
    perfect = mt.decompose.pca(subject.record(as_inputs(ids), [SITE]))
    assert judge({"p": perfect})["p/loss_recovered"] == pytest.approx(1.0, abs=1e-3)


def test_refusals(subject, ids):
    with pytest.raises(UsageError, match="recipe"):
        train_many(recording(), {}, steps=1, batch=1)
    with pytest.raises(Degenerate, match="enlarge buffer"):
        train_many(live(subject, ids), {"a": Recipe(TopK(2), 8, reads=SITE)}, steps=9, batch=500)
    with pytest.raises(UsageError, match="buffer"):
        live(subject, ids, buffer=0)
    with pytest.raises(Degenerate, match="skipping"):
        live(subject, ids, skip=12).ends(SITE, None)
    assert FromRecording(recording()["a"]).identity == FromRecording(recording()["a"]).identity
