"""A memory plan for tests that train on the CPU."""

from eightgig.vram.plan import MemoryPlan, PhaseMemory


def make_plan(**changes: object) -> MemoryPlan:
    """Return a plan of small batches on the CPU."""
    phases = tuple(PhaseMemory(phase=phase, device="cpu", parameters=1000) for phase in ("train", "validate", "export"))
    plan = MemoryPlan(
        model="small",
        sample="64 px",
        device="cpu",
        device_name="test",
        micro_batch=4,
        gradient_accumulation_steps=2,
        eval_batch=4,
        precision="fp32",
        activation_checkpointing="none",
        optimizer_kernel="fused",
        memory_format="contiguous",
        budget_gib=8,
        context_bytes=0,
        budget_bytes=8 * 2**30,
        predicted=phases,
        expected_bytes=1040,
        needed_bytes=1080,
        predicted_reserved_bytes=1080,
        margin_bytes=8 * 2**30 - 1080,
        fits=True,
        method="test",
    )
    return plan.model_copy(update=changes)
