package inventory

import (
	"fmt"
	"io"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// The two forms in which others read an inventory. Both are made to say nothing
// that does not follow from the image: the same image gives the same bytes. What
// their standards want to be unique is made from the manifest's digest, and the time
// that SPDX wants is the beginning of time.

const epoch = "1970-01-01T00:00:00Z"

// Locator is the package's purl, the name that vulnerability databases know it by.
func (p Package) Locator() string {
	kind, namespace := p.Type, ""
	var qualifiers packageurl.Qualifiers
	switch p.Type {
	case "deb":
		namespace = "debian"
		if p.Architecture != "" {
			qualifiers = packageurl.QualifiersFromMap(map[string]string{"arch": p.Architecture})
		}
	case "python":
		kind = packageurl.TypePyPi
	}
	return packageurl.NewPackageURL(kind, namespace, p.Name, p.Version, qualifiers, "").ToString()
}

// uuid makes one from a digest: version 8, which leaves the bits to whoever makes it.
func uuid(digest string) string {
	h := strings.TrimPrefix(digest, "sha256:")
	if len(h) < 32 {
		h += strings.Repeat("0", 32-len(h))
	}
	return fmt.Sprintf("%s-%s-8%s-8%s-%s", h[:8], h[8:12], h[13:16], h[17:20], h[20:32])
}

// WriteCycloneDX writes a document in the form of CycloneDX 1.6, JSON.
func WriteCycloneDX(w io.Writer, d Document) error {
	bom := cyclonedx.NewBOM()
	bom.SerialNumber = "urn:uuid:" + uuid(d.Manifest)
	bom.Metadata = &cyclonedx.Metadata{
		Tools: &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{{Type: cyclonedx.ComponentTypeApplication, Name: "plumb", Version: d.Version}}},
		Component: &cyclonedx.Component{
			BOMRef: d.Manifest, Type: cyclonedx.ComponentTypeContainer, Name: d.Name, Version: d.Manifest,
			Properties: &[]cyclonedx.Property{{Name: "plumb:platform", Value: d.Platform}},
		},
	}
	components := []cyclonedx.Component{}
	seen := map[string]bool{}
	for _, p := range d.Packages {
		locator := p.Locator()
		if seen[locator] { // one in two places of the image
			continue
		}
		seen[locator] = true
		components = append(components, cyclonedx.Component{BOMRef: locator, Type: cyclonedx.ComponentTypeLibrary, Name: p.Name, Version: p.Version, PackageURL: locator})
	}
	bom.Components = &components
	e := cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON)
	e.SetPretty(true)
	if err := e.EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return fmt.Errorf("writing the inventory of image %q: %w", d.Name, err)
	}
	return nil
}

// WriteSPDX writes a document in the form of SPDX 2.3, JSON. Licences are not
// looked for: they are said to be unknown.
func WriteSPDX(w io.Writer, d Document) error {
	image := &v2_3.Package{
		PackageName: d.Name, PackageSPDXIdentifier: "image", PackageVersion: d.Manifest, PackageDownloadLocation: "NOASSERTION", PrimaryPackagePurpose: "CONTAINER",
		PackageLicenseConcluded: "NOASSERTION", PackageLicenseDeclared: "NOASSERTION", PackageCopyrightText: "NOASSERTION", PackageComment: d.Platform,
		PackageChecksums: []common.Checksum{{Algorithm: common.SHA256, Value: strings.TrimPrefix(d.Manifest, "sha256:")}},
	}
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: d.Name,
		DocumentNamespace: "urn:uuid:" + uuid(d.Manifest), Packages: []*v2_3.Package{image},
		CreationInfo:  &v2_3.CreationInfo{Created: epoch, Creators: []common.Creator{{CreatorType: "Tool", Creator: "plumb-" + d.Version}}},
		Relationships: []*v2_3.Relationship{{RefA: common.MakeDocElementID("", "DOCUMENT"), RefB: common.MakeDocElementID("", "image"), Relationship: "DESCRIBES"}},
	}
	for i, p := range d.Packages {
		id := common.ElementID(fmt.Sprintf("package-%d", i+1))
		doc.Packages = append(doc.Packages, &v2_3.Package{
			PackageName: p.Name, PackageSPDXIdentifier: id, PackageVersion: p.Version, PackageDownloadLocation: "NOASSERTION", PackageSourceInfo: p.Source,
			PackageLicenseConcluded: "NOASSERTION", PackageLicenseDeclared: "NOASSERTION", PackageCopyrightText: "NOASSERTION",
			PackageExternalReferences: []*v2_3.PackageExternalReference{{Category: "PACKAGE-MANAGER", RefType: "purl", Locator: p.Locator()}},
		})
		doc.Relationships = append(doc.Relationships, &v2_3.Relationship{
			RefA: common.MakeDocElementID("", "image"), RefB: common.MakeDocElementID("", string(id)), Relationship: "CONTAINS",
		})
	}
	if err := spdxjson.Write(doc, w, spdxjson.Indent("  ")); err != nil {
		return fmt.Errorf("writing the inventory of image %q: %w", d.Name, err)
	}
	return nil
}
