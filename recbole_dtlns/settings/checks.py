"""What contradicts: keys against each other, and against what the chosen components are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recbole_dtlns.blocks.where import WhereConfig
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.generation.table import GENERATORS
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.llm.table import ENGINES
from recbole_dtlns.losses.table import LOSSES
from recbole_dtlns.methods.table import METHODS
from recbole_dtlns.negatives.choosing.contract import ItemSampler
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.samplers import SAMPLERS
from recbole_dtlns.registry import Registry, nearest
from recbole_dtlns.settings.groups import AUTO_LOSS, MODEL_LOSS, RECBOLE_SAMPLER
from recbole_dtlns.settings.owners import STAGES, config_of
from recbole_dtlns.teachers.table import TEACHERS
from recbole_dtlns.text.table import ENCODERS

if TYPE_CHECKING:
    from recbole_dtlns.settings.settings import DTLNSSettings


def check_together(settings: DTLNSSettings) -> None:
    """Refuse what contradicts.

    Raises:
        UnknownNameError: a judge, engine, sampler, pool or loss is none.
        InstallationError: somebody else's cannot be imported.
        ConfigError: two keys contradict, or a key contradicts a component.
    """
    _check_names(settings)
    _check_chosen(settings)
    _check_sampler(settings)
    _check_pool(settings)
    _check_loss(settings)
    _check_text(settings)
    _check_generated(settings)
    if settings.teacher == "checkpoint" and settings.flat.get("teacher_checkpoint") is None:
        raise ConfigError("dtlns_teacher: checkpoint needs dtlns_teacher_checkpoint, the path of a best.pth")


def _check_names(settings: DTLNSSettings) -> None:
    JUDGES.get(settings.judge)
    ENGINES.get(settings.flat["engine"])
    ENCODERS.get(settings.flat["text_encoder"])
    GENERATORS.get(settings.flat["hnlmrec_generator"])
    if settings.flat["hnlmrec_llm_engine"] is not None:
        ENGINES.get(settings.flat["hnlmrec_llm_engine"])
    if settings.selects:
        _check_name("sampler", settings.sampler, [*SAMPLERS.names(), RECBOLE_SAMPLER])
    _check_name("loss", settings.loss, [MODEL_LOSS, AUTO_LOSS, *LOSSES.names()])
    POOLS.get(settings.pool_used)


def _check_name(kind: str, name: str, choices: list[str]) -> None:
    if name not in choices:
        raise ConfigError(f"unknown {kind} '{name}'. Choices: {', '.join(choices)}.{nearest(name, choices)}")


def chosen_components(settings: DTLNSSettings) -> list[tuple[Registry[Any], str]]:
    """What the run is made of: tables, and the name in each."""
    chosen: list[tuple[Registry[Any], str]] = [
        (METHODS, settings.method),
        (JUDGES, settings.judge),
        (POOLS, settings.pool_used),
    ]
    judge = config_of(JUDGES.get(settings.judge))
    if judge is not None and "engine" in judge.keys(settings.judge):
        chosen.append((ENGINES, settings.flat["engine"]))
    if settings.teacher in TEACHERS.names():
        chosen.append((TEACHERS, settings.teacher))
    if has_text(settings):
        chosen.append((ENCODERS, settings.flat["text_encoder"]))
    if settings.method_class.generates:
        chosen.append((GENERATORS, settings.flat["hnlmrec_generator"]))
        if asks_for_negatives(settings.flat):
            chosen.append((ENGINES, settings.flat["hnlmrec_llm_engine"] or settings.flat["engine"]))
    if settings.selects:
        chosen.append((SAMPLERS, settings.sampler))
    if settings.loss_class is not None:
        chosen.append((LOSSES, settings.loss))
    return chosen


def asks_for_negatives(flat: Mapping[str, Any]) -> bool:
    """Whether the generator asks a language model for profiles or hard negatives."""
    asks = flat["hnlmrec_llm_form"] == "text" or flat["hnlmrec_profile"] == "llm"
    return flat["hnlmrec_generator"] == "llm" and asks


def _check_chosen(settings: DTLNSSettings) -> None:
    """The settings of the stages and of what was chosen are checked as wholes, too."""
    for stage in STAGES.values():
        stage.from_flat(settings.flat)
    for table, name in chosen_components(settings):
        config = config_of(table.get(name))
        if config is not None:
            config.from_flat(settings.flat, name)


def check_given_files(settings: DTLNSSettings) -> None:
    """Refuse files that the run would read and cannot use, and a cluster that is not there, before any work.

    Raises:
        InstallationError: the work is to be done on Ray, which is not installed.
        EngineError: no Ray cluster answers at the address.
        DataError: the message says what a file should hold, and what is wrong with it.
    """
    WhereConfig.from_flat(settings.flat).check()
    for stage in STAGES.values():
        stage.from_flat(settings.flat).check_files()
    for table, name in chosen_components(settings):
        config = config_of(table.get(name))
        if config is not None:
            config.from_flat(settings.flat, name).check_files()
    if has_text(settings):  # an encoder that has its vectors from a file looks into it, too
        ENCODERS.make(settings.flat["text_encoder"], settings.flat).check_files()


def has_text(settings: DTLNSSettings) -> bool:
    """Whether there is something that items say, or there are vectors of it."""
    encoder = ENCODERS.get(settings.flat["text_encoder"])
    return bool(settings.flat["text_fields"]) or not getattr(encoder, "reads_texts", True)


def _check_text(settings: DTLNSSettings) -> None:
    """Whoever reads texts needs some."""
    flat = settings.flat
    key = "teachers" if flat["teachers"] else "teacher"
    readers = [f"dtlns_{key}: {name}" for name in flat["teachers"] or [settings.teacher] if _reads_text(name)]
    readers += [f"dtlns_{key}" for key in ("text_tree", "judge_reads_text") if flat[key]]
    if any(flat["alpha_text"].values) and not flat["text_tree"]:
        raise ConfigError("dtlns_alpha_text weighs the text tree, and there is none: set dtlns_text_tree: True")
    if settings.pool_used == "tree" and flat["pool_tree"] == "text" and not flat["text_tree"]:
        raise ConfigError(
            "dtlns_pool_tree: text draws from the text tree, and there is none: set dtlns_text_tree: True"
        )
    judge = config_of(JUDGES.get(settings.judge))
    asks = judge is not None and "judge_prompt" in judge.keys(settings.judge)
    if asks and not flat["text_fields"] and Prompt.load(flat["judge_prompt"]).reads_text:
        raise ConfigError(
            f"dtlns_judge_prompt: {flat['judge_prompt']} shows what items say: set dtlns_text_fields to fields of the "
            ".item file, such as [title]"
        )
    if readers and not has_text(settings):
        raise ConfigError(
            f"{readers[0]} reads what items say: set dtlns_text_fields to fields of the .item file, such as [title], "
            "or dtlns_text_encoder: file, for vectors that you have"
        )


def _check_generated(settings: DTLNSSettings) -> None:
    """Generated negatives are mixed into chosen ones, so something must choose them, a row at a time."""
    if not settings.method_class.generates:
        return
    if settings.takes_lists or settings.shares_negatives:
        raise ConfigError(
            f"dtlns_method: {settings.method} generates a negative for every row, and dtlns_loss: {settings.loss} has "
            "none of a row's own: set dtlns_loss to bpr or hinge, or dtlns_method to dtlns"
        )
    if not settings.selects:
        raise ConfigError(
            f"dtlns_method: {settings.method} mixes what it generates into the negatives that a sampler chooses: set "
            "dtlns_sampler to rns (uniform ones), dns or mixgcf, for example, or dtlns_method to dtlns"
        )
    if settings.flat["hnlmrec_generator"] == "llm" and not settings.flat["text_fields"]:
        raise ConfigError(
            "dtlns_hnlmrec_generator: llm shows what items say: set dtlns_text_fields to fields of the .item file, "
            "such as [title]"
        )
    if settings.flat["hnlmrec_space"] == "text" and not has_text(settings):
        raise ConfigError(
            f"dtlns_method: {settings.method} makes negatives of what items say: set dtlns_text_fields to fields of "
            "the .item file, such as [title], or dtlns_hnlmrec_space: teacher, where items say nothing"
        )


def _reads_text(teacher: str) -> bool:
    return teacher in TEACHERS.names() and getattr(TEACHERS.get(teacher), "reads_text", False)


def _check_sampler(settings: DTLNSSettings) -> None:
    sampler = settings.sampler_class
    if sampler is not None:
        SAMPLERS.make(settings.sampler, settings.flat).check_candidates(max(settings.n_candidates.values))
    if settings.mixing and not (sampler is not None and issubclass(sampler, ItemSampler) and sampler.mixable):
        mixable = [name for name, found in SAMPLERS.importable() if getattr(found, "mixable", False)]
        raise ConfigError(
            f"dtlns_mixing is not for dtlns_sampler: {settings.sampler}; it mixes what {', '.join(mixable)} choose"
        )
    if settings.tree_terms_wanted and not (sampler is not None and (sampler.takes_tree_terms or sampler.reads_trees)):
        raise ConfigError(f"dtlns_tree_terms has no effect on dtlns_sampler: {settings.sampler}: set it to False")


def _check_pool(settings: DTLNSSettings) -> None:
    if settings.pool_used != settings.pool and settings.pool != "uniform":
        raise ConfigError(
            f"dtlns_sampler: {settings.sampler} draws from its own pool: leave out dtlns_pool: {settings.pool}"
        )
    if settings.pool != "uniform" and not (settings.selects or settings.draws_for_lists):
        raise ConfigError(
            f"dtlns_pool: {settings.pool} needs "
            + ("draws: set dtlns_loss_items" if settings.takes_lists else "a dtlns_sampler other than recbole")
        )
    if settings.pool_class.needs_several and settings.selects and settings.drawn_once:
        raise ConfigError(
            f"dtlns_pool: {settings.pool} draws a share of several candidates, and dtlns_sampler: {settings.sampler} "
            "takes one: use dns, for example"
        )
    reads_file = "pool_file" in settings.pool_class.Config.keys(settings.pool_used)
    if reads_file != (settings.flat.get("pool_file") is not None):
        raise ConfigError("dtlns_pool: file and dtlns_pool_file, a table of user_id and item_id, go together")


def _check_loss(settings: DTLNSSettings) -> None:
    if settings.loss_class is not None and not (settings.selects or settings.takes_lists):
        raise ConfigError(f"dtlns_loss: {settings.loss} needs a dtlns_sampler other than recbole")
    if settings.shares_negatives and (settings.makes_vectors or not settings.pool_class.shareable):
        raise ConfigError(
            f"dtlns_loss: {settings.loss} takes negatives that a batch shares: set dtlns_sampler to rns (uniform "
            "ones), popularity, or one that chooses an item, such as dns, for a hard one of every row beside them; "
            "with dtlns_pool: uniform or popularity"
        )
    if settings.draws_for_lists and not settings.pool_class.shareable:
        raise ConfigError(
            f"dtlns_loss: {settings.loss} with dtlns_loss_items draws items that a batch shares: set dtlns_pool to "
            "uniform or popularity"
        )
    if settings.loss_debiased and settings.takes_lists:
        raise ConfigError(
            f"dtlns_loss_debiased weighs negatives, and dtlns_loss: {settings.loss} has none: leave it out"
        )
    if settings.loss_debiased and settings.loss_class is None:
        raise ConfigError("dtlns_loss_debiased weighs negatives one by one: set dtlns_loss to bpr, for example")
