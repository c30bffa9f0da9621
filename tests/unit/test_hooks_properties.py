"""For any sequence of registrations, triggers and failures, the counters of a manager are those of a simple model."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize_async._bus import EventBus
from amorsize_async._hook import Subscription, Terms
from amorsize_async._hook_rules import QUARANTINE_AFTER
from amorsize_async._mailbox import Delivery, Mailbox
from amorsize_async.events import HookContext, HookEvent
from amorsize_async.hooks import HookManager

ERRORS = (None, None, ValueError, SystemExit, asyncio.CancelledError)
LIFECYCLE = {HookEvent.PRE_EXECUTE, HookEvent.POST_EXECUTE}
CALLBACKS = range(3)

events = st.sampled_from(HookEvent)
registrations = st.tuples(st.just("register"), events, st.sampled_from(CALLBACKS), st.booleans())
removals = st.tuples(st.just("unregister"), events, st.sampled_from(CALLBACKS))
clearances = st.tuples(st.just("unregister_all"), st.none() | events)
triggers = st.tuples(st.just("trigger"), events, st.tuples(*[st.sampled_from(ERRORS)] * len(CALLBACKS)))
histories = st.lists(
    st.one_of(registrations, registrations, removals, *[triggers] * 6, clearances), min_size=10, max_size=80
)


class Model:
    """What the documentation says, in the plainest way: lists, and a count for each name."""

    def __init__(self):
        self.table = {event: {} for event in HookEvent}
        self.calls, self.errors = Counter(), Counter()
        self.hooks = {}

    def register(self, event, callback, once):
        self.table[event].setdefault(callback, once)
        self.hooks.setdefault(callback, Counter())

    def unregister(self, event, callback):
        found = self.table[event].pop(callback, None) is not None
        if not any(callback in entries for entries in self.table.values()):
            self.hooks.pop(callback, None)
        return found

    def unregister_all(self, event):
        chosen = HookEvent if event is None else [event]
        return sum(self.unregister(each, callback) for each in chosen for callback in list(self.table[each]))

    def trigger(self, event, errors):
        self.calls[event] += 1
        called = []
        for callback, once in list(self.table[event].items()):
            hook = self.hooks[callback]
            if hook["streak"] >= QUARANTINE_AFTER and event not in LIFECYCLE:
                hook["dropped"] += 1
                continue
            if once:
                self.unregister(event, callback)
            called.append(callback)
            hook["calls"] += 1
            hook["errors"] += errors[callback] is not None
            hook["streak"] = hook["streak"] + 1 if errors[callback] else 0
            self.errors[event] += errors[callback] is not None
        return called

    def stats(self):
        """As ``get_stats`` gives them."""
        return (
            {event.value: len(entries) for event, entries in self.table.items()},
            {event.value: self.calls[event] for event in HookEvent},
            {event.value: count for event, count in self.errors.items() if count},
            {
                f"hook{callback}": tuple(hook[k] for k in ("calls", "errors", "dropped"))
                for callback, hook in self.hooks.items()
            },
        )


class Subject:
    """A manager with callbacks that raise what they are told to."""

    def __init__(self, *, colour):
        self.manager = HookManager()
        self.errors = [None] * len(CALLBACKS)
        make = self.awaited if colour == "async" else self.plain
        self.callbacks = [make(number) for number in CALLBACKS]

    def plain(self, number):
        def hook(context):
            if self.errors[number] is not None:
                raise self.errors[number]

        hook.__qualname__ = f"hook{number}"
        return hook

    def awaited(self, number):
        act = self.plain(number)

        async def hook(context):
            await asyncio.sleep(0)
            act(context)

        hook.__qualname__ = f"hook{number}"
        return hook

    def stats(self):
        stats = self.manager.get_stats()
        hooks = {name: (hook["calls"], hook["errors"], hook["dropped"]) for name, hook in stats["hooks"].items()}
        return stats["hook_counts"], stats["call_counts"], stats["error_counts"], hooks


async def replay(history, subject, model, trigger):
    """Do the same to both, and compare after each step."""
    manager = subject.manager
    for action, event, *rest in history:
        if action == "register":
            manager.register(event, subject.callbacks[rest[0]], once=rest[1])
            model.register(event, *rest)
        elif action == "unregister":
            assert manager.unregister(event, subject.callbacks[rest[0]]) == model.unregister(event, rest[0])
        elif action == "unregister_all":
            assert manager.unregister_all(event) == model.unregister_all(event)
        else:
            subject.errors = rest[0]
            outcomes = await trigger(manager, HookContext(event))
            assert [callback for callback, _ in outcomes] == [
                subject.callbacks[n] for n in model.trigger(event, rest[0])
            ]
        assert subject.stats() == model.stats()


@given(histories)
@settings(max_examples=200)
def test_a_plain_trigger_counts_as_the_model_does(history):
    """In one thread, without a loop."""

    async def trigger(manager, context):
        return manager.trigger(context)

    asyncio.run(replay(history, Subject(colour="plain"), Model(), trigger))


@given(histories)
@settings(max_examples=100)
def test_an_async_trigger_counts_as_the_model_does(history):
    """With lanes, for async hooks."""
    asyncio.run(replay(history, Subject(colour="async"), Model(), HookManager.trigger_async))


@given(histories)
@settings(max_examples=30)
def test_an_async_trigger_of_plain_hooks_counts_as_the_model_does(history):
    """With lanes, in threads."""
    asyncio.run(replay(history, Subject(colour="plain"), Model(), HookManager.trigger_async))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([HookEvent.ON_PROGRESS, HookEvent.ON_CHUNK_COMPLETE, HookEvent.ON_ERROR]), st.booleans()
        )
    ),
    st.sampled_from(["async", "thread", "inline"]),
    st.sampled_from([None, lambda context: context.sequence % 3 != 0]),
)
@settings(max_examples=100)
def test_on_the_bus_every_event_is_accounted_for(history, mode, when):
    """Called, coalesced, dropped or filtered: the four add up to what was emitted, and calls are in order."""
    seen, manager = [], HookManager()

    def hook(context):
        seen.append(context.sequence)
        if context.metadata["fails"]:
            raise ValueError

    async def main():
        manager.register(HookEvent, hook, mode=mode, when=when)
        bus = EventBus([manager], "run")
        for sequence, (event, fails) in enumerate(history):
            bus.emit(HookContext(event, sequence=sequence, metadata={"fails": fails}))
        await bus.aclose()

    asyncio.run(main())
    [stats] = manager.get_stats()["hooks"].values()
    assert sum(stats[key] for key in ("calls", "coalesced", "dropped", "filtered")) == len(history)
    assert seen == sorted(set(seen))
    assert stats["calls"] == len(seen)
    assert stats["errors"] == sum(history[sequence][1] for sequence in seen)


@given(st.lists(st.sampled_from([*HookEvent, None])), st.integers(1, 5))
def test_a_mailbox_behaves_as_a_list(history, limit):
    """Bounded, one waiting progress, oldest of the others first to go."""
    mailbox, model = Mailbox(limit), []
    for number, event in enumerate(history):
        if event is None:
            taken = mailbox.take()
            assert (taken and taken.context.sequence) == (model.pop(0)[1] if model else None)
            continue
        if event is HookEvent.ON_PROGRESS:
            model = [entry for entry in model if entry[0] is not event]
        elif len(model) >= limit:
            others = [entry for entry in model if entry[0] is not HookEvent.ON_PROGRESS]
            model = [entry for entry in model if entry not in others[:1]]
        model.append((event, number))
        mailbox.put(Delivery(HookContext(event, sequence=number), SUBSCRIPTION))
        assert len(mailbox) == len(model)
    assert [mailbox.take().context.sequence for _ in model] == [number for _, number in model]
    assert mailbox.take() is None


SUBSCRIPTION = Subscription(None, HookEvent.ON_ERROR, Terms(None, None, None, once=False), critical=False)
