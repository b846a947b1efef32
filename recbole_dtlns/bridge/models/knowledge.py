"""RecBole's knowledge-aware recommenders, and what DTL-NS can do for each."""

from __future__ import annotations

from recbole_dtlns.bridge.models.capability import PAIRWISE, Capability, Layers, no_arguments

_OF_A_PAIR = "makes an item's vector anew for every user"
_RANKED_BY = ("restore_user_e", "restore_entity_e")  # the vectors that were ranked by, of edges that were drawn

KNOWLEDGE: dict[str, Capability] = {
    "CFKG": Capability(
        True,
        False,
        no_layers="adds the vector of a relation to the user's",
        one_mean=True,
    ),
    "CKE": Capability(
        True,
        False,
        no_layers="adds two tables up to the item's vector",
        bpr_term=True,
        term="rec_loss",
    ),
    "KGAT": Capability(
        True,
        True,
        state=("A_in",),
        layers=Layers("concat", no_arguments, "entity_embedding"),
        bpr_term=True,
    ),
    "KGCN": Capability(True, False, no_layers=_OF_A_PAIR, heavy_scores=True),
    "KGIN": Capability(
        True,
        True,
        state=_RANKED_BY,
        no_layers="draws the edges of its graph anew whenever it propagates",
        bpr_term=True,
    ),
    "KGNNLS": Capability(True, True, no_layers=_OF_A_PAIR, heavy_scores=True),
    "KTUP": Capability(
        True,
        False,
        "draws preferences anew whenever it scores (`use_st_gumbel`)",
        no_layers="scores by a distance, not by the product of two vectors",
        bpr_term=True,
    ),
    "MCCLK": Capability(
        True,
        True,
        "with `loss_type: BPR`",
        state=_RANKED_BY,
        no_layers="joins the vectors of three views outside its `forward`",
        bpr_term=True,
        stage=("loss_type", PAIRWISE),
    ),
    "MKR": Capability(True, False, no_layers="scores by a network, not by the product of two vectors"),
    "RippleNet": Capability(
        True,
        True,
        no_layers="makes a user's vector anew for every item",
        remade=("ripple_set",),
        heavy_scores=True,
        needs_history=True,
    ),
}
