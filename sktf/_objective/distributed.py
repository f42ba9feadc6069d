"""The ranks of a group of processes: rank 0 asks, all answer; the only user of torch.distributed.

Rank 0 fits as a single process would. What touches all rows it asks for: every rank applies a
function to objects of its own, and the answers are kept there, summed or gathered. No other rank
decides anything, so that none can take another branch.
"""

import pickle
import signal
from _thread import interrupt_main
from contextlib import contextmanager, nullcontext
from threading import Event, RLock, Thread, current_thread, main_thread
from typing import Any, NamedTuple

import numpy as np

# Seconds between two signs of life.
_BEAT = 1.0
# What an answer adds to the status of the sum of all: of a rank that failed, and of Ctrl-C.
_FAILED, _INTERRUPTED = 2.0**20, 1.0
# Bytes of a question that come first, with its length; most are no longer.
HEAD = 1024
_REMEDY = (
    "distributed=True fits on all processes of an initialized group: call "
    "torch.distributed.init_process_group first, in a script that is started by "
    "'torchrun --nproc-per-node=4 script.py', say."
)
_LOST = (
    "A process of the group has ended, or cannot be reached; the fit ends on all others. Look "
    "for its own error or signal, and start all of them again."
)


class Kept:
    """Stands for an object that each rank keeps under this name.

    Once rank 0 no longer refers to it, its name goes to ``freed``, and all ranks forget the object.
    """

    def __init__(self, name, freed=None):
        self.name, self._freed = name, freed

    def __del__(self):
        if self._freed is not None:
            self._freed.append(self.name)

    def __reduce__(self):
        return Kept, (self.name,)


class Each(NamedTuple):
    """Stands for one object a rank."""

    parts: Any


class Ranks:
    """All processes of the default group, for one fit.

    It has process groups of its own, on gloo whatever the backend of the default group is: to
    close their connections tells all other ranks that this one has left, and the group of the
    user stays as it was.

    Attributes
    ----------
    rank, size : int
        Number of this process, and of all.
    error : Exception or None
        What an answer of this rank ended with.
    lost : bool
        Whether another process is gone.
    bytes_sent : int
        Bytes that this rank has broadcast or added to sums.
    """

    def __init__(self):
        dist = _distributed()
        self._dist, self.rank, self.size = dist, dist.get_rank(), dist.get_world_size()
        self.error, self.lost, self.interrupted = None, False, False
        self.bytes_sent = 0
        self._objects, self._freed, self._n_kept = {"ranks": self}, [], 0
        self._lock, self._ended = RLock(), Event()
        self._main = current_thread() is main_thread()
        self._group, self._beats = (dist.new_group(backend="gloo") for _ in range(2))
        self._watcher = Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def __enter__(self):
        self._ignores = self._main and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        if self._ignores:
            signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *exception):
        self.close()
        if self._ignores:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _hear(self, number, frame):
        """Ignore Ctrl-C, as a process in the background does, but not the loss of a rank."""
        if self.lost:
            raise KeyboardInterrupt

    def hold(self, name, thing):
        """Keep an object of this rank under a name; return what stands for it."""
        self._objects[name] = thing
        return Kept(name)

    def mine(self, kept):
        """Return what this rank keeps."""
        return self._objects[kept.name]

    def close(self):
        """Leave: whoever waits for this rank learns of it."""
        self._ended.set()
        self._watcher.join(2 * _BEAT)
        for group in (self._group, self._beats):
            self._dist.destroy_process_group(group)
        self._objects.clear()

    def agree(self, function):
        """Return ``function()`` of every rank, on every rank; raise on all where one fails."""
        found, parts = None, [None] * self.size
        try:
            found = function()
        except Exception as error:
            self.error = error
        told = found, _text_of_error(self)
        with self._telling():
            self._dist.all_gather_object(parts, told, group=self._group)
        self._raise_own()
        if any(text for _, text in parts):
            raise _RankError([text for _, text in parts])
        return [found for found, _ in parts]

    def keep(self, function, *args):
        """Let every rank keep ``function(*args)``; return what stands for the results."""
        with self._lock:
            self._n_kept += 1
            kept = Kept(self._n_kept, self._freed)
            self._ask("keep", kept, function, args)
        return kept

    def sum(self, size, function, *args):
        """Return the sum over ranks of arrays of so many numbers, ``function(*args)`` of each."""
        with self._lock:
            return self._ask("sum", size, function, args)

    def gather(self, function, *args):
        """Return ``function(*args)`` of every rank, in their order."""
        with self._lock:
            return self._ask("gather", None, function, args)

    def told(self, error):
        """Return what other ranks raise where the fit on rank 0 ends with an error."""
        return str(error if isinstance(error, _RankError) else _RankError([_text_of(error)]))

    def _raise_own(self):
        if self.error is not None:
            raise self.error

    def is_lost(self):
        """Return what to raise where another process is gone."""
        return RuntimeError(_LOST)

    def end(self, attributes, text=None, interrupted=False):
        """Tell all ranks that there are no more questions, and how the fit has ended."""
        with self._lock:
            self._ended.set()
            self._send(("end", None, None, (attributes, text, interrupted), []))

    def serve(self):
        """Answer what rank 0 asks, until it ends; return what it says last.

        Ctrl-C is passed on to rank 0 with an answer, and ends the descent there.
        """
        with _noting_interrupts(self) if self._main else nullcontext():
            while True:
                how, detail, function, args, freed = self._receive()
                if how == "end":
                    self._raise_own()
                    return args
                self._answer(how, detail, function, args, freed)

    def _ask(self, how, detail, function, args):
        freed = self._freed[:]
        del self._freed[: len(freed)]
        # Between a question and its answers an interruption would leave ranks waiting.
        with _noting_interrupts(self) if self._in_main() else nullcontext():
            self._send((how, detail, function, args, freed))
            status, answer = self._answer(how, detail, function, args, freed)
        self._check(status)
        return answer

    def _check(self, status):
        """Raise where a rank has failed, or somebody has asked to stop."""
        self._raise_own()
        if status >= _FAILED:
            raise _RankError(self.gather(_text_of_error, Kept("ranks")))
        if status or self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt

    def _answer(self, how, detail, function, args, freed):
        """Do this rank's part; return the status and the answer of all, on rank 0."""
        for name in freed:
            self._objects.pop(name, None)
        result, status = None, 0.0
        try:
            result = function(*map(self._resolved, args))
        except Exception as error:
            self.error, status = error, _FAILED
        status += _INTERRUPTED * self.interrupted
        if self.rank:
            self.interrupted = False
        if how == "gather":
            return self._gathered(result if status < _FAILED else None, status)
        if how == "keep":
            self._objects[detail.name] = result
        return self._summed(detail if how == "sum" else 0, result, status)

    def _summed(self, size, result, status):
        buffer = np.zeros(size + 1)
        if size and status < _FAILED:
            buffer[:-1] = np.ravel(result)
        buffer[-1] = status
        self._move(self._dist.reduce, buffer)
        return buffer[-1], buffer[:-1]

    def _gathered(self, result, status):
        parts = None if self.rank else [None] * self.size
        with self._telling():
            self._dist.gather_object((result, status), parts, dst=0, group=self._group)
        if self.rank:
            return status, None
        return sum(its for _, its in parts), [part for part, _ in parts]

    def _resolved(self, argument):
        if isinstance(argument, Kept):
            return self._objects[argument.name]
        if isinstance(argument, Each):
            return argument.parts[self.rank]
        return argument

    def _send(self, question):
        payload = pickle.dumps(question, protocol=5)
        message = bytearray(len(payload).to_bytes(8) + payload)
        message.extend(bytes(max(0, HEAD - len(message))))
        message = np.frombuffer(message, np.uint8)
        self._move(self._dist.broadcast, message[:HEAD])
        if len(message) > HEAD:
            self._move(self._dist.broadcast, message[HEAD:])

    def _receive(self):
        head = np.empty(HEAD, np.uint8)
        self._move(self._dist.broadcast, head)
        length = int.from_bytes(head[:8].tobytes())
        rest = np.empty(max(0, length + 8 - HEAD), np.uint8)
        if len(rest):
            self._move(self._dist.broadcast, rest)
        return pickle.loads(np.concatenate([head, rest])[8 : length + 8])

    def _move(self, collective, array):
        """Broadcast an array from rank 0, or add it up there, in place."""
        import torch

        if self.rank == 0 or collective == self._dist.reduce:
            self.bytes_sent += array.nbytes
        with self._telling():
            collective(torch.from_numpy(array), 0, group=self._group)

    @contextmanager
    def _telling(self):
        """Say what it means that others cannot be reached."""
        try:
            yield
        except RuntimeError as error:
            self.lost = True
            raise self.is_lost() from error

    def _in_main(self):
        return self._main and current_thread() is main_thread()

    def _watch(self):
        """Exchange signs of life; interrupt rank 0, which may be busy, where a rank is gone."""
        import torch

        leaves = torch.zeros(1)
        try:
            while not leaves.item():
                self._ended.wait(_BEAT)
                leaves.fill_(float(self._ended.is_set()))
                self._dist.all_reduce(leaves, self._dist.ReduceOp.MAX, group=self._beats)
        except RuntimeError:
            pass
        with self._lock:
            if self.rank == 0 and not (self.lost or self._ended.is_set()):
                self.lost = True
                if self._main:
                    interrupt_main()


class _RankError(RuntimeError):
    """What ranks raise where others have failed; of each it is given a text, or None."""

    def __init__(self, texts):
        failed = [f"Rank {rank} raised {text}" for rank, text in enumerate(texts) if text]
        super().__init__(f"{'; '.join(failed)}. So the fit ends on all ranks.")


def _text_of_error(ranks):
    return None if ranks.error is None else _text_of(ranks.error)


def _text_of(error):
    return f"{type(error).__name__}: {str(error).rstrip('.')}"


def _distributed():
    """Return torch.distributed, where a group is initialized."""
    try:
        import torch.distributed as dist
    except ImportError as error:
        raise ImportError(
            'distributed=True needs PyTorch: pip install "sktf[torch]", or leave it at False.'
        ) from error
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(_REMEDY)
    return dist


@contextmanager
def _noting_interrupts(ranks):
    """Take note of Ctrl-C in place of an exception; the handler before is put back."""

    def note(number, frame):
        ranks.interrupted = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
