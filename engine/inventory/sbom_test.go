package inventory

import (
	"bytes"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

func someDocument() Document {
	return Document{
		Name: "registry.example/py:1", Manifest: "sha256:" + strings.Repeat("1f", 32), Platform: "linux/amd64", Version: "1.2.3",
		Packages: []Package{
			{Type: "deb", Name: "libstdc++6", Version: "1:12.2.0-14", Architecture: "amd64", Source: "gcc-12 12.2.0-14"},
			{Type: "python", Name: "numpy", Version: "1.24", Location: "usr/lib/python3/dist-packages/numpy.egg-info"},
			{Type: "python", Name: "numpy", Version: "1.24", Location: "opt/venv/numpy.egg-info"},
		},
	}
}

func TestCycloneDX(t *testing.T) {
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		if err := WriteCycloneDX(w, someDocument()); err != nil {
			t.Fatal(err)
		}
	}
	if a.String() != b.String() {
		t.Error("the same image gives two documents")
	}
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(&a, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.SpecVersion != cyclonedx.SpecVersion1_6 || bom.SerialNumber != "urn:uuid:1f1f1f1f-1f1f-8f1f-8f1f-1f1f1f1f1f1f" || len(*bom.Components) != 2 {
		t.Errorf("%s, %s, %d components", bom.SpecVersion, bom.SerialNumber, len(*bom.Components))
	}
	if got := (*bom.Components)[0].PackageURL; got != "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14?arch=amd64" {
		t.Errorf("purl %q", got)
	}
	if (*bom.Components)[1].PackageURL != "pkg:pypi/numpy@1.24" {
		t.Errorf("purl %q", (*bom.Components)[1].PackageURL)
	}
}

func TestSPDX(t *testing.T) {
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		if err := WriteSPDX(w, someDocument()); err != nil {
			t.Fatal(err)
		}
	}
	if a.String() != b.String() {
		t.Error("the same image gives two documents")
	}
	var doc v2_3.Document
	if err := spdxjson.ReadInto(&a, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.SPDXVersion != "SPDX-2.3" || len(doc.Packages) != 4 || len(doc.Relationships) != 4 || doc.Packages[1].PackageVersion != "1:12.2.0-14" {
		t.Errorf("%s, %d packages, %d relationships", doc.SPDXVersion, len(doc.Packages), len(doc.Relationships))
	}
}
