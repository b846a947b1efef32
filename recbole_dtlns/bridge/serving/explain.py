"""Why an item is recommended to a user, and what came of the pair before training.

The model's own view needs the run folder alone. What was prepared is looked up in the artefact store by its content, as
a run with the same settings would find it: nothing is computed, no model is trained and no language model asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.bridge.repairs.features import OWN_TIME
from recbole_dtlns.bridge.serving.kept_data import TRAIN, VALID
from recbole_dtlns.bridge.serving.trained_run import TrainedRun
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.data.atomic_file import read_columns, read_titles
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemFields
from recbole_dtlns.errors import DataError, DTLNSError, UnsupportedModelError
from recbole_dtlns.guidance.relabelling import RowWeights, row_weights
from recbole_dtlns.judges.contract import Label
from recbole_dtlns.judges.features import feature_names, pair_features
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.preparation import Recalled, recall
from recbole_dtlns.registry import nearest
from recbole_dtlns.serving.reasons import ItemReasons, Judged, Near, Opinion, UserReasons, View
from recbole_dtlns.settings.settings import DTLNSSettings

logger = logging.getLogger("recbole_dtlns")

_NEAREST = 3
_VERDICTS = {Label.POSITIVE: "false negative", Label.NEGATIVE: "negative", Label.ABSTAIN: "abstained"}
_LEARNT = ("calibrated", "distilled")  # look at the features


class Explainer:
    """Explains what a run recommends.

    Args:
        run: loaded from its folder.
        titles: names of items by token; None: of the data set's .item file, where that is still there.
    """

    def __init__(self, run: TrainedRun, titles: dict[str, str] | None = None) -> None:
        self.run = run
        self._settings = DTLNSSettings.from_config(dict(run.config))
        self._titles = self._read_titles() if titles is None else titles
        self.missing: list[str] = []
        self._recalled = self._look_up()

    def explain(self, user: str, item: str | None = None, k: int = 5) -> UserReasons:
        """The reasons for one item, or briefly for the best k.

        Args:
            user, item: tokens.
            k: how many items, where none is named.

        Raises:
            DataError: the user, or the item, is unknown; the nearest name is given.
        """
        _check(user, self.run.users, "user")
        if item is not None:
            _check(item, self.run.items, "item")
        ((_, best),) = self.run.recommend([user], max(k, 100) if item else k)
        places = {token: place for place, (token, _) in enumerate(best, start=1)}
        explained = [item] if item is not None else list(places)[:k]
        history = self.run.items_of(user, TRAIN) + (self.run.items_of(user, VALID) if self.run.refit else [])
        return UserReasons(
            user=user,
            model=str(self.run.config["model"]),
            dataset=str(self.run.config["dataset"]),
            leaking=self.run.leaking,
            refit=self.run.refit,
            history=[self._name(token) for token in history],
            items=[self._reasons(user, token, places.get(token), history) for token in explained],
            missing=list(self.missing),
        )

    def _reasons(self, user: str, item: str, rank: int | None, history: list[str]) -> ItemReasons:
        others = [token for token in history if token != item]
        judged, why = self._judged(user, item)
        return ItemReasons(
            item=item,
            title=self._name(item),
            rank=rank,
            score=float(self.run.score([user], [item])[0]),
            known_from=self.run.known_from(user, item),
            views=list(self._views(item, others)) if others else [],
            judged=judged,
            unjudged=why,
        )

    def _views(self, item: str, history: list[str]) -> Iterator[View]:
        places = {token: place for place, token in enumerate(self.run.items)}
        if self._model_vectors is not None:
            yield View("nearest in the model's vectors", self._near(self._model_vectors, places, item, history))
        found = self._recalled
        if found is None:
            return
        tokens = {token: place for place, token in enumerate(found.question.train.item_tokens.tolist())}
        for teacher, vectors in found.item_vectors.items():
            yield View(f"nearest for the teacher {teacher}", self._near(unit_rows(vectors), tokens, item, history))
        for name, tree in found.question.views.items():
            known = [token for token in history if token in tokens]
            if item in tokens and known:
                similarity = tree.similarity(np.array(tokens[item]), np.array([tokens[token] for token in known]))
                yield View(f"nearest in the {name} tree", self._best(known, similarity))

    @cached_property
    def _model_vectors(self) -> np.ndarray | None:
        try:
            return unit_rows(self.run.item_vectors)
        except UnsupportedModelError:
            self.missing.append(
                f"{self.run.config['model']} has no vectors whose products are its scores, so it cannot say which "
                "items it sees as alike"
            )
            return None

    def _near(self, vectors: np.ndarray, places: dict[str, int], item: str, history: list[str]) -> list[Near]:
        known = [token for token in history if token in places]
        if item not in places or not known:
            return []
        return self._best(known, vectors[[places[token] for token in known]] @ vectors[places[item]])

    def _best(self, tokens: list[str], similarity: np.ndarray) -> list[Near]:
        order = np.argsort(-similarity, kind="stable")[:_NEAREST]
        return [Near(self._name(tokens[place]), float(similarity[place])) for place in order if similarity[place] > 0]

    def _judged(self, user: str, item: str) -> tuple[Judged | None, str]:
        found, flat = self._recalled, self._settings.flat
        if found is None:
            return None, ""
        train, candidates = found.question.train, found.question.candidates
        users, items = train.user_tokens.tolist(), train.item_tokens.tolist()
        if user not in users or item not in items:
            return None, "user or item has no train pair, so no teacher knows it"
        owner, place = users.index(user), items.index(item)
        of_user = np.flatnonzero(candidates.users == owner)
        rows = of_user[candidates.items[of_user] == place]
        if not len(rows):
            return None, "the user has it in train" if train.matrix[owner, place] else self._unnamed()
        row, within = int(rows[0]), int(np.flatnonzero(of_user == rows[0])[0])
        opinions, depth = found.question.opinions, int(flat["council_depth"])
        if opinions is None:
            said = [Opinion(flat["teacher"], int(candidates.ranks[row]) + 1, float(candidates.scores[row]))]
        else:
            ranks, strengths = opinions.ranks[row].tolist(), opinions.strengths[row].tolist()
            said = [
                Opinion(name, rank + 1 if rank < depth else None, strength)
                for name, rank, strength in zip(opinions.names, ranks, strengths, strict=True)
            ]
        if found.verdicts is None or found.relabelling is None:
            return Judged(flat["judge"], "not known here", None, said, {}, None, None), ""
        positives = found.relabelling.positives
        mine = np.flatnonzero((positives.users == owner) & (positives.items == place))
        number = int(positives.place[mine[0]]) if len(mine) else None
        weights = RowWeights.from_flat(flat)
        added = number is not None and self._settings.relabel_add and not self._settings.takes_lists
        features: dict[str, float] = {}
        if flat["judge"] in _LEARNT:
            text = bool(flat["judge_reads_text"]) and train.content is not None
            order = bool(flat["judge_reads_order"]) and train.times is not None
            names = feature_names(found.question.views, opinions.names if opinions else (), text, order)
            values = pair_features(found.question.about(of_user), text, order)[within]
            features = dict(zip(names, map(float, values), strict=True))
        probability = float(found.verdicts.probability[row])
        return Judged(
            judge=flat["judge"],
            verdict=_VERDICTS[Label(int(found.verdicts.label[row]))],
            probability=None if np.isnan(probability) else probability,
            opinions=said,
            features=features,
            place=None if number is None else number + 1,
            weight=float(row_weights(np.array([number]), weights.relabel_weight, weights.relabel_decay)[0])
            if added
            else None,
        ), ""

    def _unnamed(self) -> str:
        """Why an item is no candidate of a user who does not have it."""
        flat = self._settings.flat
        if flat["candidates_file"]:
            return "it was not among the candidates of the file"
        whose = "any teacher's" if flat["teachers"] else "the teacher's"
        return f"it was not among {whose} first {flat['candidates']}"

    def _look_up(self) -> Recalled | None:
        """What the run had prepared, as far as it is still there; what is not is noted as missing."""
        if not self._settings.prepares and self.run.config["model"] != "Council":
            return None
        again = f"recbole-dtlns prepare --config_files={self.run.folder / 'config.yaml'}"
        if self.run.refit:
            again += " --refit=1"
        try:
            train = self._train()
            found = recall(self._settings.flat, train, make_teacher(self._settings.flat))
        except DTLNSError as error:
            self.missing.append(
                f"what was prepared for this run cannot be looked up ({str(error).rstrip('.')}): the reasons are the "
                f"model's alone. Where the data set is at hand, {again} makes it again"
            )
            return None
        self.missing.extend(found.missing)
        return found

    def _train(self) -> TrainInteractions:
        """The train pairs in canonical form, as the stages saw them."""
        kept, run = self.run.kept, self.run
        if kept.rows:
            rows = kept.rows[TRAIN].followed_by(kept.rows[VALID]) if run.refit else kept.rows[TRAIN]
            users, items = (kept.tokens[name] for name in run.columns)
            given = (users[rows.users], items[rows.items], rows.times, rows.liked)
            return self._described(TrainInteractions.from_tokens(*given))
        pairs = kept.observed[TRAIN].pairs()
        if run.refit:
            pairs = pairs.union(kept.observed[VALID].pairs())
        if kept.sequences is not None:  # of a version that kept no rows, nor any times
            ids = zip(run.columns, (pairs.users, pairs.items), strict=True)
            return self._described(TrainInteractions.from_tokens(*(kept.tokens[name][places] for name, places in ids)))
        table = {name: values.numpy() for name, values in kept.tables["inter"].items()}
        users, items = (table[column] for column in run.columns)
        width = len(kept.tokens[run.columns[1]])
        observed = np.isin(users * width + items, pairs.users * width + pairs.items)  # others were relabelled
        column = OWN_TIME if OWN_TIME in table else run.config["TIME_FIELD"]
        times = table[column][observed] if column in table else None
        label = run.config["LABEL_FIELD"]
        labelled = capability(type(run.model)).labels and label in table
        liked = table[label][observed] > 0 if labelled else None
        of_users, of_items = (
            kept.tokens[field][ids[observed]] for field, ids in zip(run.columns, (users, items), strict=True)
        )
        return self._described(TrainInteractions.from_tokens(of_users, of_items, times, liked))

    def _described(self, train: TrainInteractions) -> TrainInteractions:
        """With what the items say, where the settings read it."""
        run = self.run
        if train.fingerprint != run.train_fingerprint:
            raise DataError("the folder does not hold the pairs that the model was trained on")
        fields = ItemFields.from_flat(self._settings.flat)
        if not fields.columns:
            return train
        config = run.config
        rows = read_columns(
            self._item_file, run.columns[1], fields.columns, config["field_separator"], config["encoding"]
        )
        return replace(train, content=fields.content(rows, train.item_tokens.tolist()))

    @property
    def _item_file(self) -> Path:
        name = str(self.run.config["dataset"])
        return Path(str(self.run.config["data_path"])) / name / f"{name}.item"

    def _read_titles(self) -> dict[str, str]:
        config: Any = self.run.config
        if not self._item_file.is_file():
            return {}
        try:
            return read_titles(self._item_file, self.run.columns[1], config["field_separator"], config["encoding"])
        except DataError as error:
            logger.warning("items are shown by their ids: %s", error)
            return {}

    def _name(self, token: str) -> str:
        return self._titles.get(token, token)


def _check(token: str, known: np.ndarray, kind: str) -> None:
    tokens = known.tolist()
    if token not in tokens:
        raise DataError(f"the model knows no {kind} '{token}', out of {len(tokens)}.{nearest(token, tokens)}")
