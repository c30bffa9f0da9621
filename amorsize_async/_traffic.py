"""The chunks of one execution, on their way there and back; what becomes of those that never come is in `_recovery`.

`Run` says which items go where; everything after that is here.

    send ─► packed on the loop or beside it ─► launched: run_in_executor(run_chunk, Chunk) ─► ChunkReply
      ▲                                                                                 │
      └── send_again ◄── what was not run, died, is to be tried again ◄── books ◄───────┘
"""

from __future__ import annotations

import asyncio

from ._arrivals import Arrivals
from ._books import Books
from ._chunk import ChunkReply
from ._chunking import ChunkSizer
from ._crew import Crew
from ._deaths import Casualties
from ._flight import Flight
from ._judgement import Judge
from ._launcher import Launcher
from ._leavings import Leavings
from ._payload import PackedFunction
from ._recovery import Recovery
from ._results import Sink
from ._retries import second_chances
from ._run_options import RunOptions
from ._sharing import Share
from ._shielding import ended
from ._stopwatch import Stopwatch
from ._transport import Transport
from ._turns import ONE_A_TURN
from ._wire import Batch, Loaded, Terms, load_values, with_unloadable
from ._worker import send_singly
from .backends import Place, Pool
from .errors import AmorsizeError

__all__ = ("Traffic",)


class Traffic:
    """What an execution has out; its crew awaits the replies."""

    def __init__(
        self,
        function: PackedFunction,
        *,
        pool: Pool,
        share: Share,
        sink: Sink,
        sizer: ChunkSizer,
        books: Books,
        crew: Crew,
        options: RunOptions,
    ) -> None:
        self.function = function
        self.sizer = sizer
        self._pool = pool
        self._share = share
        self._sink = sink
        self._options = options
        self._books = books
        self._crew = crew
        self._tally = books.tally
        alone = asyncio.Lock()
        self._transport = Transport(function, pool, sizer, alone)
        self._arrivals = Arrivals(alone, sizer.n_jobs)
        casualties = Casualties(options.max_item_deaths, share.limit)
        self._judge = Judge(casualties, options.retry, options.item_timeout)
        self._launcher = Launcher(function, pool=pool, share=share, sizer=sizer, options=options)
        self._leavings = Leavings(function, pool=pool, share=share, launcher=self._launcher)

    def __repr__(self) -> str:
        return f"<Traffic {len(self._launcher.flights)} chunks out>"

    # ── its ends ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def close(self) -> None:
        """Stop what still runs, within `cancel_grace`."""
        flights = [(flight.place, flight.future) for flight in self._launcher.flights]
        for flight in self._launcher.flights:
            flight.cancel_deadline()
        for place in await self._pool.abandon(flights, self._options.cancel_grace):
            if place.pid is not None:
                self._books.narrator.worker_gone(place.pid, "killed")
        for flight in self._launcher.flights:
            await self._transport.dropped(flight.reply, flight.job)

    async def all_sent(self) -> None:
        """Note that there is no more input; what is kept for chunks to come can go once the last of it is packed."""
        await self._transport.all_packed()
        self._leavings.begin()

    async def clear_away(self) -> None:
        """Leave nothing in workers and in shared memory."""
        await self._leavings.end()

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def place(self) -> Place:
        """A place for one chunk; that there is none, and will be none, ends the run."""
        await self._arrivals.caught_up()
        try:
            return await self._pool.acquire(self._share)
        except AmorsizeError as exc:
            self._crew.fail(exc)

    def send(self, batch: Batch, place: Place) -> bool:
        """Send a batch off at once, so that the place has an owner at every moment, and have a task wait for it.

        Tells whether that took the loop long enough for others to have a turn now.
        """
        self._tally.sent(self._books.narrator.elapsed)
        if place.pid is not None:
            self._books.narrator.worker_seen(place.pid)
        watch = Stopwatch()
        terms = self._launcher.terms(place)
        job = self._transport.packed_now(batch, terms)
        if job is not None:
            self._crew.run(self._await_reply(self._launcher.launched(batch, place, terms, job, watch)))
            return job.size >= ONE_A_TURN
        watch.transfer()
        unsent = [place]

        def give_back(_task: object = None) -> None:
            for unused in unsent:
                self._pool.give_back(unused, self._share)

        task = self._crew.run(self._send_beside(batch, unsent, terms, watch))
        if task is None:
            give_back()
        else:
            task.add_done_callback(give_back)
        return True

    async def _send_beside(self, batch: Batch, unsent: list[Place], terms: Terms, watch: Stopwatch) -> None:
        """Send a batch that would hold the loop, once a thread has packed it. Until then its place is in `unsent`."""
        job = await self._transport.packed_later(batch, terms, watch)
        await self._await_reply(self._launcher.launched(batch, unsent.pop(), terms, job, watch))

    async def _send_again(self, batch: Batch, *, split: bool = False) -> None:
        """Send items that were not run: their worker died or had no more time, or needs them in another form.

        `split`: they were part of a chunk whose other part goes its own way.
        """
        while len(batch.items) and self._books.wants(batch):
            if split:
                self._sink.dispatched(0)
            place = await self.place()
            size = self.sizer.next_size(len(batch.items))  # what is heavier than it looked is shared with others
            most = size if place.left is None else min(size, place.left)
            self.send(batch.part(0, most), place)
            batch, split = batch.part(most, len(batch.items)), True

    async def _try_again(self, batch: Batch, wait: float) -> None:
        """Send failed items once more, after a wait in which they hold no worker."""
        await asyncio.sleep(wait)
        await self._send_again(batch)

    # ── a chunk, there and back ──────────────────────────────────────────────────────────────────────────────────────

    async def _await_reply(self, flight: Flight) -> None:
        """Wait for the reply to a batch, and end the run if there is no more to wait for."""
        await self._replied(flight)
        self._crew.leave_if_over()

    async def _replied(self, flight: Flight) -> None:
        """Wait for a reply and hand on what came of it."""
        await flight.landing
        self._launcher.flights.discard(flight)
        flight.cancel_deadline()
        flight.watch.go_on()
        broken = None if flight.future.cancelled() else flight.future.exception()
        if flight.future.cancelled() or broken is not None:
            if not flight.place.ready:
                self._launcher.sent_to.discard(flight.place)
            await self._transport.dropped(None, flight.job)
            await self._recovery().place_broke(flight, broken, is_async=self.function.is_async)
            return
        reply: ChunkReply = flight.future.result()
        self._judge.survived()
        flight.place.keeps |= reply.kept
        if reply.refused:
            await self._transport.take_back_from(reply, flight.job)
            flight.place.known.discard(self.function.digest)
            if reply.refused == "home":
                self.function = await self._transport.function_in_band()
            self._pool.settle(flight.place, self._share)
            singly = flight.batch.singly or reply.refused == "items"
            await self._send_again(flight.batch._replace(singly=singly))
        else:
            if flight.place in self._launcher.sent_to:
                flight.place.known.add(self.function.digest)
            await self._take_home(flight, reply)

    async def _take_home(self, flight: Flight, reply: ChunkReply) -> None:
        """Unpack a reply, enter it into the books, deliver its values, and send on what is still to be run."""
        batch, watch = flight.batch, flight.watch
        arena = flight.job.arena
        loaded = await self._arrivals.loaded(reply, arena, watch)
        watch.transfer()
        loaded = loaded or await self._sent_singly(flight, reply)
        await self._transport.take_back_from(reply, flight.job)
        watch.go_on()
        if loaded is None:
            self._pool.settle(flight.place, self._share)
            await self._recovery().halve(batch)
            return
        values, unloadable = loaded
        failures = with_unloadable(
            await self._arrivals.failed(reply, batch, flight.job, watch) if reply.failures else [], batch, unloadable
        )
        again = second_chances(self._options.retry, batch, failures)
        if again:
            retried = {index for part in again for index in part.indices}
            failures = [failed for failed in failures if failed.index not in retried]
        watch.transfer()
        self._books.account(batch, reply, failures, again)
        self._books.deliver(batch, values, failures, again, reply.bytes_out)
        self._books.learn(reply, watch)
        self._share.steady = self.sizer.steady and self._options.item_timeout is None
        self._pool.settle(flight.place, self._share)
        for part in again:
            self._retry(part)
        if reply.done < len(batch.items):
            await self._send_again(batch.part(reply.done, len(batch.items)), split=True)

    def _retry(self, batch: Batch) -> None:
        policy = self._options.retry
        if policy is not None:
            self._crew.run(self._try_again(batch, policy.wait(batch.attempt - 1)))

    async def _sent_singly(self, flight: Flight, reply: ChunkReply) -> Loaded | None:
        """Results that did not unpickle whole, one by one, from the worker that has them still.

        None if it has not, since it is dead by now, or has done more since: then the items are to run again, in halves,
        which come to an end since a lone result is never asked for twice.
        """
        self._pool.hold(flight.place, self._share)
        future = self._launcher.called(flight.place, send_singly, flight.job.ticket)
        await ended(future)
        parcel = None if future.cancelled() or future.exception() else future.result()
        if isinstance(parcel, list):
            return load_values(reply._replace(values=parcel, kept=False), None)
        return load_values(reply._replace(kept=False), flight.job.arena) if reply.done == 1 else None

    def _recovery(self) -> Recovery:
        """Made when it is needed: kept, the two would hold each other, and the function, until they are collected."""
        again, later = self._send_again, self._retry
        return Recovery(
            self._pool, self._sink, self._books, self._judge, again=again, later=later, fail=self._crew.fail
        )

    def worker_gone(self, place: Place, reason: str) -> None:
        """A worker is gone that has no chunk of ours: it is kept no longer, and its end told if it worked for us."""
        self._launcher.sent_to.discard(place)
        if self._crew.begun and place.pid is not None and self._books.narrator.has_seen(place.pid):
            self._books.narrator.worker_gone(place.pid, reason)
