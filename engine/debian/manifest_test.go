package debian

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/apt/apttest"
)

// The bytes of an image are promised: a change of them is a change of the rules, and
// wants another Recipe.
func TestBytesAreAsPromised(t *testing.T) {
	layers, err := assemble(t, imageOf(packAll(t, []apttest.Deb{plain("xz"), {
		Name: "busybox", Version: "1", Architecture: "all", Files: []apttest.File{{Path: "bin/"}, {Path: "bin/busybox", Data: "x", Mode: 0o4755}, {Path: "usr/share/" + strings.Repeat("long/", 60) + "naïve", Link: "x"}},
	}})...))
	if err != nil {
		t.Fatal(err)
	}
	var blobs []Blob
	got := map[string]string{}
	for i, name := range []string{"base", "all", "dpkg"} {
		blobs = append(blobs, Blob{name, DigestOf(layers[i]), int64(len(layers[i]))})
		got[name] = blobs[i].Digest
	}
	manifest, config, err := imageOf().Describe(blobs)
	if err != nil {
		t.Fatal(err)
	}
	got["manifest"], got["config"] = DigestOf(manifest), DigestOf(config)
	want := map[string]string{
		"base":     "sha256:cb9dbfa73e0e3c1a25bd9f739597888e4ed3fd9a2fd1a10289fba03752a45594",
		"all":      "sha256:4bf76419b270943a8c86320db3910d16ba8355deaa7ac328ea2cc0a3f980c4dd",
		"dpkg":     "sha256:bf5dc883716056efcd062df169011e0ed2ec81eb3e19f9b82c02b46a3d1b1f96",
		"config":   "sha256:7b1a5289aaf1e6a234aa0e8ccd17c79376d73e453dee0bbdc0a973e52c875a80",
		"manifest": "sha256:7f2038315bfbb75bc1ce852ee77c58920b50268f33c16984c0ec916a3f1a958c",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recipe %s gives (-want +got):\n%s", Recipe, diff)
	}
}

func TestDescribe(t *testing.T) {
	image := Image{Platform: "linux/arm/v7", Date: time.Date(2023, 6, 10, 14, 0, 0, 0, time.FixedZone("", 2*3600))}
	manifest, config, err := image.Describe([]Blob{{"base", "sha256:1", 10}, {"dpkg", "sha256:2", 20}})
	if err != nil {
		t.Fatal(err)
	}
	const wantConfig = `{"created":"2023-06-10T12:00:00Z","architecture":"arm","variant":"v7","os":"linux",` +
		`"config":{"Cmd":["/bin/sh"],"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},` +
		`"rootfs":{"type":"layers","diff_ids":["sha256:1","sha256:2"]},` +
		`"history":[{"created":"2023-06-10T12:00:00Z","created_by":"plumb: base"},{"created":"2023-06-10T12:00:00Z","created_by":"plumb: dpkg"}]}`
	if diff := cmp.Diff(wantConfig, string(config)); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	wantManifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + DigestOf(config) + `","size":386},` +
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:1","size":10},{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:2","size":20}]}`
	if diff := cmp.Diff(wantManifest, string(manifest)); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}
