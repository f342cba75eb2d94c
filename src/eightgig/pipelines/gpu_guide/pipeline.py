"""The GPU guide: what fits on which card, at what speed, and what of the article holds (article 1, 4, 6)."""

from kedro.pipeline import Pipeline

from eightgig.pipelines.gpu_guide.nodes import answer_claims, draw_figures, plan_everything, write_page
from eightgig.stages.task import case_pipeline, stage_node, stage_pipeline


def create_pipeline() -> Pipeline:
    """Return the guide: `--tags plan` plans, `--tags report` answers and draws anew from what was planned."""
    planned = {
        "compare": "params:compare",
        "plan": "params:plan",
        "model": "params:model",
        "own_model": "params:own_model",
    }
    page = {
        "title": "params:title",
        "guide": "guide",
        "claims": "claims_table",
        "fits_figure": "fits_figure",
        "speed_figure": "speed_figure",
        "plan": "params:plan",
    }
    stages = [
        stage_pipeline("plan", [stage_node(plan_everything, planned, ["guide", "guide_table"])]),
        stage_pipeline(
            "report",
            [
                stage_node(answer_claims, {"guide": "guide"}, "claims_table"),
                stage_node(draw_figures, {"guide": "guide"}, ["fits_figure", "speed_figure"]),
                stage_node(write_page, page, "report"),
            ],
        ),
    ]
    return case_pipeline("gpu_guide", stages)
