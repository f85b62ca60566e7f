"""Which batch each step of a student takes: the same for all three ways of getting labels."""

import math
from dataclasses import replace

import numpy as np

from benchmarks.systems.producer import Production
from benchmarks.systems.settings import VIEW_SIZE, Scale, System
from labelcast.augmentation import AugmentationPolicy
from labelcast.augmentation.seeded.batches import sample_order
from labelcast.views import Views
from labelcast_producers.relabel.recipes import RECIPES, Recipe


def production_of(system: System, scale: Scale) -> Production:
    """What the producer of a system writes."""
    return Production(
        samples=scale.samples,
        epochs=scale.labelled_epochs(system),
        batch_size=scale.batch_size(system),
        drop_last=system.drop_last,
        prune=system.prune,
        names_samples=system.drop_last,
        seed=system.producer_seed,
    )


def recipe_of(system: System, scale: Scale) -> Recipe:
    """Of a system whose views seeds draw; `relabel_options` says the same to the command."""
    return replace(
        RECIPES[system.name],
        flip=0.0,
        epochs=scale.labelled_epochs(system),
        batch_size=scale.batch_size(system),
    )


def relabel_options(system: System, scale: Scale) -> list[str]:
    """Options of `labelcast relabel` that make `recipe_of`."""
    recipe = recipe_of(system, scale)
    return [
        *("--recipe", recipe.name, "--flip", f"{recipe.flip:g}"),
        *("--epochs", str(recipe.epochs), "--batch-size", str(recipe.batch_size)),
    ]


def policy_of(system: System, scale: Scale) -> AugmentationPolicy:
    """Of a system whose views seeds draw."""
    return recipe_of(system, scale).policy(VIEW_SIZE, VIEW_SIZE)


def stored_steps(system: System, scale: Scale, seed: int) -> list[tuple[int, int]]:
    """(epoch, batch) of the file of every step.

    Args:
        system: one that stores.
        scale: of the run.
        seed: of the student; where batches are drawn, it draws them.
    """
    stored = production_of(system, scale).stored()
    if system.prune == 1:
        return stored
    steps = scale.epochs * math.ceil(scale.samples / scale.batch_size(system))
    drawn = np.random.default_rng(seed).integers(len(stored), size=steps)
    return [stored[number] for number in drawn]


def planned_views(system: System, scale: Scale, seed: int) -> list[Views]:
    """The views of every step: seeds are the epochs of the files."""
    size = scale.batch_size(system)
    if system.stores:
        production = production_of(system, scale)
        orders = production.orders()
        return [
            Views.of(np.array(production.batch(orders[epoch], number), dtype=np.uint64), epoch)
            for epoch, number in stored_steps(system, scale, seed)
        ]
    key = policy_of(system, scale).key
    return [
        batch
        for epoch in range(scale.labelled_epochs(system))
        for batch in Views.of(
            sample_order(scale.samples, seed=epoch, key=key).astype(np.uint64), epoch
        ).batches(size)
    ]
