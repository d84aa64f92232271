"""Mistakes that people make in a command, one a line: ``command | what they must be told``."""

UNREADABLE = r"""
ratio | 'ratio' is no override
ratio=[1, | 'ratio=[1,' is no override: no viable alternative
dataset=folder dataset.root=/a(b) | 'dataset.root=/a(b)' is no override
dataset=folder dataset.root=[ä] | it has a character that must stand in quotes. Write key=value
-cn mine | Cannot find primary config 'mine'
foo=1 | 'foo' is not a key of this configuration. There are ratio, phase_epochs, rounds, init
raito=0.2 | 'raito' is not a key of this configuration. Did you mean 'ratio'?
epochs=2 | 'epochs' is not a key of this configuration; give train.epochs=2 finetune.epochs=2.
batch_size=8 | give train.batch_size=8 finetune.batch_size=8.
lr=0.01 | give train.lr=0.01 finetune.lr=0.01.
global_ratio=0.5 | give ratio=0.5 budget.scope=global.
slimming_lambda=1e-4 | give pruner=slimming pruner.phase.penalty=1e-4.
oracle_samples=50 | give eval.oracle.samples=50.
scheduler=poly | give train.decay=poly finetune.decay=poly (or cosine, or constant).
--epochs 2 | --epochs is no flag here; give train.epochs=2 finetune.epochs=2.
--skip-existing | --skip-existing is no flag here; finished results are always used again
pruner.foo=1 | 'pruner.foo' is not a key of this configuration. There are variant.
pruner=fpgm pruner.norm_mx=1 | 'pruner.norm_mx' is not a key of this configuration. Did you mean 'pruner.norm_mix'?
pruner.variant.x=1 | 'pruner.variant.x' is not a key
dataset.augment.jiter=0 | Did you mean 'dataset.augment.jitter'?
train@fit=short | Could not override 'train@fit'
~foo | Could not delete from config. 'foo' does not exist.
+ratio=1 | An item is already at 'ratio'
pruner=tayler | pruner is 'tayler'; it must be one of apoz, bn_scale
pruner=tayler | Did you mean pruner=taylor?
pruner=null | the command 'tracking=silent pruner=null' cannot be read: Config group override must be
model=resnet | model is 'resnet'; it must be one of deeplabv3_resnet101
experiment=camvid | experiment is 'camvid'; it must be one of camvid_cpu, camvid_r50, cityscapes_r50.
finetune@between=fast rounds=2 | finetune is 'fast'; it must be one of like_train, long, none, sgd_poly
phase_epochs=0 pruner=cap | phase_epochs is 0: input should be greater than or equal to 1.
hydra/launcher=lsf | hydra/launcher is 'lsf'; it must be one of basic, kubernetes, plan, processes, slurm
hydra.mode=fast | hydra.mode: Invalid value 'fast', expected one of [RUN, MULTIRUN]
hydra/launcher=plan | hydra/launcher=plan shows what a sweep would do; add -m to the command
ratio=${nowhere} | ratio: Interpolation key 'nowhere' not found
ratio=0.2,0.3 | To sweep over them add -m: python run.py -m ratio=0.2,0.3
paths=5 | paths.outputs is None; it must be a folder
paths.outputs=null | paths.outputs is None; it must be a folder: give paths.outputs=/some/folder.
paths.outputs=ROOT/run.py | cannot be created: Not a directory. Every run writes a folder of its own below
hydra.run.dir=ROOT/run.py | run.py cannot be created: File exists.
"""
SWEEPS = r"""
pruner=tayler,l1 | pruner is 'tayler'; it must be one of
foo=1,2 | 'foo' is not a key of this configuration.
ratio=0.2,much | ratio=much cannot run, so none was started.\nratio is 'much': input should be a valid number
ratio=0.2,much 'finetune.lr=${train.lr}' | ratio is 'much': input should be a valid number
ratio=range(1,2 | 'ratio=range(1,2' is no override
paths.outputs=null | paths.outputs is None
ratio=0.2 hydra/launcher=processes hydra.launcher.jobs=0 | hydra.launcher.jobs is 0: input should be greater
ratio=0.2 hydra/launcher=processes hydra.launcher.gpus=all | hydra.launcher.gpus is 'all': input should be
ratio=0.2 hydra/launcher=processes +hydra.launcher.job=2 | hydra.launcher.job is not a key; there are jobs
ratio=0.2 hydra/launcher=processes hydra.launcher.timeout_s=-5 | hydra.launcher.timeout_s is -5
"""
WRONG = r"""
hydra.job.chdir=true | hydra.job.chdir is true, with which relative paths such as dataset.root=data would begin
+foo=1 | foo is not a key; there are dataset, model
+batch_size=8 | batch_size is not a key; give train.batch_size=8 finetune.batch_size=8.
+pruner.foo=1 | pruner.foo is not a key; there are variant.
+dataset.augment.jiter=0 | dataset.augment.jiter is not a key; there are crop_area, flip, jitter. Did you mean
pruner=slimming +pruner.phase.foo=1 | pruner.phase.foo is not a key; there are penalty, schedule.
pruner=slimming +pruner.phase.schedule.foo=1 | pruner.phase.schedule.foo is not a key; there are epochs, batch_size
+eval.oracle.sample=1 | eval.oracle.sample is not a key; there are samples, images, batch_size, copies, loss.
~ratio | ratio is missing; give ratio=... on the command line.
ratio=??? | ratio is missing; give ratio=... on the command line.
~train.lr | train.lr is missing; give train.lr=... on the command line.
~pruner | pruner has no option, or several; give it one: pruner=<option>.
pruner=[taylor,l1] | pruner has no option, or several
~tracking | tracking has no option, or several
ratio=1.0 | ratio is 1.0: input should be less than 1.
ratio=-0.1 | ratio is -0.1: input should be greater than or equal to 0.
ratio=nan | ratio is nan: input should be
ratio=inf | ratio is inf: input should be less than 1.
ratio=abc | ratio is 'abc': input should be a valid number
ratio=null | ratio is null, but a budget of channels needs it
ratio=false | ratio is false: input should be a number.
seed=-1 | seed is -1: input should be greater than or equal to 0.
rounds=0 | rounds is 0: input should be greater than or equal to 1.
threads=1e9 | threads is 1000000000.0: input should be less than or equal to 1024.
init=fresh | init is 'fresh': input should be 'inherited' or 'scratch'.
weights=retrained | 'weights' is not a key of this configuration; it is called init now, and its value retrained
train.epochs=-1 | train.epochs is -1: input should be greater than or equal to 0.
train.epochs=2.5 | train.epochs is 2.5: input should be a valid integer
train.epochs=yes | train.epochs is 'yes': input should be a valid integer
train.epochs=1 train.warmup_epochs=2 | train: warmup_epochs is 2 but epochs is 1
finetune.warmup_epochs=9 | finetune: warmup_epochs is 9 but epochs is 2
train.lr=0 | train.lr is 0: input should be greater than 0.
train.lr=inf | train.lr is inf: input should be a finite number.
train.batch_size=0 | train.batch_size is 0: input should be greater than 0.
train.grad_clip=inf | train.grad_clip is inf: input should be a finite number.
train.class_weights=[1,2] | train.class_weights is [1, 2]: input should be 'none', 'sqrt' or 'median'.
dataset.augment.flip=true | dataset.augment.flip is true: input should be a number.
dataset.size_hw=[16,32] | dataset.size_hw.0 is 16: input should be greater than or equal to 32.
dataset.counts.fit=0 | dataset.counts.fit is 0: input should be greater than 0.
calibration.images=1 | calibration.images is 1: input should be greater than or equal to 2.
model=fcn_resnet50 model.weights=5 | model.weights is 5: input should be 'none' or 'imagenet', or input is not a
store=5 | store is 5: input should be a valid dictionary.
store.root=null | store.root is null: input is not a valid path.
stages=[] | stages is []: list should have at least 1 item
stages=train | stages is 'train': input should be a valid list.
stages=[train,distil] | stages names 'distil'; there are eval, export, finetune, prune, quantise, train.
stages=[prune,train] | each stage may occur once, in the order train, prune, finetune, eval.
stages=[train,train] | each stage may occur once
stages=[prune,eval] | without train, so there is no network to start from. Add train, or give checkpoint=
checkpoint=here | Leave train out of stages, or checkpoint out of the command.
device=null | device is null: input should be a valid string.
pruner._target_=os.system | pruner._target_ is 'os.system'; it must be a dotted path into segprune.
pruner._target_=segprune..l1 | pruner._target_ is 'segprune..l1', which cannot be imported
pruner._target_=segprune.pruner.l1 | pruner._target_ is 'segprune.pruner.l1', which
pruner._target_=segprune.sweep.grid.GridJob | whose arguments cannot be checked: name 'Run' is not defined.
pruner._target_=5 | pruner._target_ is 5; it must be a dotted path
extensions=[nowhere] | extensions is ['nowhere'], but Python finds no package 'nowhere'. Install it
extensions=[a.b] | Python finds no package 'a.b'
extensions=nowhere | extensions is 'nowhere': input should be a valid list.
extensions=[tests] pruner._target_=tests.broken.Pruner | whose module cannot be imported: ZeroDivisionError
pruner=dmcp rounds=2 | rounds is 2, but pruner=dmcp learns all widths together in one phase. Take rounds=1.
pruner=dmcp budget=threshold | pruner=dmcp learns widths for a ratio, and the budget takes none.
budget=threshold rounds=2 | rounds is 2, but the budget takes no ratio that rounds could share.
budget=threshold budget.threshold=0 | budget.threshold is 0: input should be greater than 0.
budget=threshold ratio=0.3 | Leave ratio out, or take another budget.
pruner=slimming pruner.phase.schedule.epochs=0 | pruner.phase.schedule.epochs is 0, but the method is its
pruner=cap pruner.phase.schedule.keep=best | pruner.phase.schedule.keep is 'best'; it must be 'last'
pruner=slimming pruner.phase=5 | pruner.phase is 5: input should be a dictionary.
pruner=slimming pruner.phase.schedule=5 | pruner.phase.schedule is 5: input should be a dictionary.
pruner=slimming pruner.phase.schedule.warmup_epochs=99 | pruner.phase.schedule: warmup_epochs is 99 but epochs is 8
checkpoint=/no/where stages=[eval] | /no/where is not a checkpoint: net.json cannot be read
checkpoint=ROOT/run.py stages=[eval] | run.py is not a checkpoint: net.json cannot be read (Not a directory)
'checkpoint='"'"''"'"'' stages=[eval] | is not a checkpoint
tracking=mlflow tracking.experiment=a/b | tracking.experiment is 'a/b'
tracking=mlflow tracking.flush_seconds=inf | tracking.flush_seconds is inf: input should be a finite number.
"""
NOT_THERE = r"""
device=cuda:99 | device is 'cuda:99', which cannot be used here
device=foo | device is 'foo', which cannot be used here. Allowed are auto, cpu
device=meta | device is 'meta', which cannot be used here. Allowed are auto, cpu, and cuda
tracking=mlflow tracking.uri=ftp://host | ftp://host
"""
IMPOSSIBLE = r"""
# widths are 4 and 8
ratio=0.999 | ratio=0.999 of channels cannot be removed: with budget.floor=0.1 at most
budget.floor=0.99 | nothing can go (channels of the widest layer: 
ratio=0.31 budget.tolerance=0 | the closest cut of whole channels removes
pruner=l1 budget=macs budget.tolerance=0 | the closest cut of whole channels removes
model.width=1 model.max_width=1 | no channel of UNet can be cut
model.width=1 model.max_width=1 budget=macs | no channel of UNet can be cut
budget.tolerance=0.05 store.root=ROOT/run.py | run.py cannot be read or written: Not a directory
budget.tolerance=0.05 finetune.batch_size=5 | finetune.batch_size is 5, but the training images are only 4
"""
