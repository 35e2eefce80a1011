rule attack:
    input:
        images=IMAGES,
        shards=SHARDS,
        checkpoints=CHECKPOINTS,
    output:
        attack_runs=ATTACK_RUNS,
        reconstructions=RECONSTRUCTIONS,
    log:
        f"{LOGS}/attack/{places.BLOCK}.log",
    benchmark:
        f"{LOGS}/attack/{places.BLOCK}.benchmark.tsv"
    conda:
        "../envs/torch.yaml"
    threads: CONFIG.engine.threads
    resources:
        mem_mb=3500,
        runtime=720,
        gpu=gpus_wanted,
    params:
        settings=attack_settings,
        code=attack_code,
    shell:
        "python -m fldrep attack --dataset {wildcards.dataset} --model {wildcards.model} "
        "--partition {wildcards.partition} --defense {wildcards.defense} --seed {wildcards.seed} "
        "--round {wildcards.round} --update-kind {wildcards.update_kind} --attack {wildcards.attack} "
        "--block {wildcards.block} --settings {params.settings:q} --images {input.images:q} --shards {input.shards:q} "
        "--checkpoints {input.checkpoints:q} --attack-runs {output.attack_runs:q} "
        "--reconstructions {output.reconstructions:q} --code {params.code} > {log:q} 2>&1"
