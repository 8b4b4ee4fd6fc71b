package hcl

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const exprSource = `
param "base" { default = "b" }
param "limit" { default = 0.5 }
image "sh" { ref = "busybox:1.36" }
source "wine" { path = "data/wine.csv" }
stage "train" {
  for_each = ["a", "b"]
  image    = image.sh
  command  = "true"
  metrics  = "m/${each.key}.json"
}
stage "score" {
  image   = image.sh
  command = "true"
  metrics = "score.json"
}
stage "last" {
  for_each = ["a", "b"]
  image    = image.sh
  inputs   = { wine = source.wine }
  command  = <<EOT
use ${stage.train[each.key].metrics.loss.mean}
on ${input.wine} ${source.wine.path} ${param.base}
EOT
  env = {
    MULTI = "${
      stage.score.metrics.acc
    }"
    BEST = format("%.2f", max(
      stage.train["a"].metrics.acc,
      stage.train.b.metrics.acc))
  }
  when = stage.train[each.key].metrics.acc > param.limit
}
`

func exprStage(t *testing.T) (*Pipeline, *Stage) {
	t.Helper()
	p, diags := Evaluate("", []File{{MainFile, []byte(exprSource)}}, Options{})
	if len(diags) > 0 {
		t.Fatalf("diagnostics:\n%s", rendered(diags))
	}
	return p, &p.Stages[len(p.Stages)-1]
}

func TestExprEval(t *testing.T) {
	_, last := exprStage(t)
	metrics := map[MetricRef]float64{
		{"train[a]", "acc"}: 0.25, {"train[b]", "acc"}: 0.75, {"train[b]", "loss.mean"}: 1.5, {"score", "acc"}: 3,
	}
	command, diags := last.Command.Args[0].Expr.EvalString(metrics)
	if len(diags) > 0 {
		t.Fatalf("command: %s", rendered(diags))
	}
	if want := "use 1.5\non data/wine.csv data/wine.csv b\n"; command != want {
		t.Errorf("command is %q, want %q", command, want)
	}
	want := map[string]string{"MULTI": "3", "BEST": "0.75"}
	got := map[string]string{}
	for _, v := range last.Env {
		if got[v.Name], diags = v.Value.Expr.EvalString(metrics); len(diags) > 0 {
			t.Fatalf("%s: %s", v.Name, rendered(diags))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("env (-want +got):\n%s", diff)
	}
	if ok, diags := last.When.EvalBool(metrics); !ok || len(diags) > 0 {
		t.Errorf("when is %v: %s", ok, rendered(diags))
	}
	metrics[MetricRef{"train[b]", "acc"}] = 0.1
	if ok, _ := last.When.EvalBool(metrics); ok {
		t.Error("when is true below the limit")
	}
}

func TestExprMissingMetric(t *testing.T) {
	_, last := exprStage(t)
	_, diags := last.When.EvalBool(map[MetricRef]float64{})
	if len(diags) != 1 || diags[0].Summary != "Metric missing" || diags[0].Subject.Start.Line != 33 {
		t.Errorf("got %s", rendered(diags))
	}
}

func TestDependencies(t *testing.T) {
	_, last := exprStage(t)
	if diff := cmp.Diff([]string{"score", "train[a]", "train[b]"}, last.Dependencies()); diff != "" {
		t.Errorf("dependencies (-want +got):\n%s", diff)
	}
	want := []MetricRef{{"score", "acc"}, {"train[a]", "acc"}, {"train[b]", "acc"}, {"train[b]", "loss.mean"}}
	if diff := cmp.Diff(want, last.MetricRefs()); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}
