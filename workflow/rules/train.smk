rule train:
    input:
        images=IMAGES,
        shards=SHARDS,
    output:
        training=TRAINING,
        checkpoints=CHECKPOINTS,
    log:
        f"{LOGS}/train/{places.RUN}.log",
    benchmark:
        f"{LOGS}/train/{places.RUN}.benchmark.tsv"
    conda:
        "../envs/torch.yaml"
    threads: CONFIG.engine.threads
    resources:
        mem_mb=3500,
        runtime=240,
    params:
        settings=train_settings,
        code=code_under_defense("fldrep.train.job"),
    shell:
        "python -m fldrep train --dataset {wildcards.dataset} --model {wildcards.model} "
        "--partition {wildcards.partition} --defense {wildcards.defense} --seed {wildcards.seed} "
        "--settings {params.settings:q} --images {input.images:q} --shards {input.shards:q} "
        "--training {output.training:q} --checkpoints {output.checkpoints:q} "
        "--code {params.code} --threads {threads} > {log:q} 2>&1"
