rule metrics:
    input:
        **{
            name: [f"{RESULTS}/{file}" for file in files]
            for name, files in GRID.analyses().items()
        },
        # Not named in the command: the job finds them by its settings, as they may be more than a command line holds.
        attack_runs=[block.path(ATTACK_RUNS) for block in GRID.blocks()],
        reconstructions=[block.path(RECONSTRUCTIONS) for block in GRID.blocks()],
        training=[run.path(TRAINING) for run in GRID.runs],
        images=[IMAGES.format(dataset=dataset) for dataset in GRID.datasets()],
    output:
        **FINAL_TABLES,
        gallery=GALLERY,
    log:
        f"{LOGS}/metrics.log",
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=3500,
        runtime=60,
    params:
        settings=settings_of("metrics"),
        results=lambda wildcards, output: Path(output.gallery).parents[1],
        code=code_of("metrics"),
        plugins=PLUGIN_FILES,
    shell:
        command("metrics")
