package engine

import (
	"context"
	"fmt"
	"os"
	"strings"

	"plumb/store"
	"plumb/store/tree"
)

// Get materialises one artifact: STAGE.OUTPUT as the project's newest run that has
// it left it, STAGE alone when it has one output, or a digest.
func (e *Engine) Get(ctx context.Context, req GetRequest) (*GetDoc, error) {
	art, err := e.findArtifact(req)
	if err != nil {
		return nil, err
	}
	doc := &GetDoc{Schema: Schema, Name: req.Name, Digest: art.Digest, Kind: art.Kind, Size: art.Size, Path: req.Path}
	if req.Path == "" {
		return doc, nil
	}
	if _, err := os.Lstat(req.Path); err == nil && !req.Force {
		same, err := tree.Same(ctx, e.store, art, req.Path)
		if err != nil {
			return nil, fmt.Errorf("comparing %q: %w", req.Path, err)
		}
		if same {
			return doc, nil
		}
		return nil, invalid("name another path with -o, or use --overwrite", "%q is there already and differs", req.Path)
	}
	if err := tree.Materialise(ctx, e.store, art, req.Path, tree.MaterialiseOptions{}); err != nil {
		return nil, lostContent(err)
	}
	return doc, nil
}

func (e *Engine) findArtifact(req GetRequest) (store.Artifact, error) {
	if strings.HasPrefix(req.Name, "sha256:") {
		d, err := store.ParseDigest(req.Name)
		if err != nil {
			return store.Artifact{}, invalid("give all 64 digits; plumb show prints them", "%v", err)
		}
		art, ok := tree.Identify(e.store, d)
		if !ok {
			return store.Artifact{}, invalid("plumb show lists what runs left", "nothing with the digest %s is kept", d)
		}
		return art, nil
	}
	return e.findOutput(req.Project.Dir, req.Name)
}

// splitOutput parts "train[lr=0.1].model" at the dot that is outside brackets.
func splitOutput(name string) (stage, output string) {
	end := strings.LastIndexByte(name, ']') + 1
	if dot := strings.IndexByte(name[end:], '.'); dot >= 0 {
		return name[:end+dot], name[end+dot+1:]
	}
	return name, ""
}

// lookBack is among how many runs the newest one with a result is looked for.
const lookBack = 50

func (e *Engine) findOutput(dir, name string) (store.Artifact, error) {
	made, err := e.findMade(dir, name)
	return made.output.Artifact, err
}

// made is an output as a run has it.
type made struct {
	run    *store.Run
	key    store.Key
	output store.Output
}

// findMade finds STAGE.OUTPUT in the newest run that has it.
func (e *Engine) findMade(dir, name string) (made, error) {
	stage, output := splitOutput(name)
	runs, err := e.store.Runs(store.RunFilter{Project: dir, Limit: lookBack})
	if err != nil {
		return made{}, fmt.Errorf("listing runs: %w", err)
	}
	if len(runs) == 0 {
		return made{}, invalid("plumb run makes one", "there is no run of this project yet")
	}
	for i := range runs {
		run, err := e.store.Run(runs[i].ID)
		if err != nil {
			return made{}, fmt.Errorf("reading run %q: %w", runs[i].ID, err)
		}
		for n := range run.Stages {
			st := &run.Stages[n]
			if st.Name != stage || st.Status != "ran" && st.Status != "cached" {
				continue
			}
			rec, err := e.store.Record(st.Key)
			if err != nil {
				return made{}, fmt.Errorf("reading the result of stage %q: %w", stage, err)
			}
			if rec != nil {
				o, err := outputNamed(rec, stage, output)
				if err == nil && o.Dropped && e.store.Check(o.Artifact) != nil {
					return made{}, invalid("plumb run --keep "+stage+" makes it again and keeps it", "the bytes of output %q of stage %q are not kept", o.Name, stage)
				}
				return made{run, st.Key, o}, err
			}
		}
	}
	return made{}, invalid("plumb show lists stages and outputs", "no run has a result of a stage %q", stage)
}

func outputNamed(rec *store.Record, stage, output string) (store.Output, error) {
	var names []string
	var only store.Output
	for _, o := range rec.Outputs {
		name := strings.TrimPrefix(o.Name, ".")
		if name == output {
			return o, nil
		}
		names = append(names, name)
		only = o
	}
	if output == "" && len(names) == 1 {
		return only, nil
	}
	if output == "" {
		return store.Output{}, invalid("name one: "+stage+"."+strings.Join(names, ", "+stage+"."), "stage %q has %d outputs", stage, len(names))
	}
	return store.Output{}, invalid("its outputs are: "+strings.Join(names, ", "), "stage %q has no output %q", stage, output)
}
