package debian

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// The database is what dpkg has after it unpacked all packages and configured none:
// status and info/*, and the triggers that packages wait for. With it dpkg, apt and
// every scanner of images know what is there; `dpkg --configure -a` goes on from it.

const adminDir = "var/lib/dpkg"

// WriteDatabase writes the layer behind those of the packages.
func (a *Assembly) WriteDatabase(w io.Writer) error {
	slices.SortFunc(a.packs, func(x, y *unpacked) int { return strings.Compare(x.Name, y.Name) })
	out := newLayerWriter(w, a.image.Date)
	for _, dir := range []string{"", "/alternatives", "/info", "/parts", "/triggers", "/updates"} {
		a.places.under(adminDir)
		if !a.places.newDir(adminDir+dir, -1) {
			continue
		}
		if err := out.add(&tar.Header{Typeflag: tar.TypeDir, Name: adminDir + dir, Mode: 0o755, ModTime: a.image.Date}, nil); err != nil {
			return err
		}
	}
	files, err := a.database()
	if err != nil {
		return err
	}
	if name, to := a.shell(); name != "" {
		files = append(files, dbFile{name: name, to: to})
	}
	slices.SortFunc(files, func(x, y dbFile) int { return strings.Compare(x.name, y.name) })
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.text)), ModTime: a.image.Date}
		if f.mode != 0 {
			h.Mode = f.mode
		}
		if f.to != "" {
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.to, 0o777
		}
		if err := out.add(h, strings.NewReader(f.text)); err != nil {
			return err
		}
	}
	return out.close()
}

// dbFile is a file of the database, or a link.
type dbFile struct {
	name, text string
	mode       int64 // 0 for a plain file's
	to         string
}

func (a *Assembly) database() ([]dbFile, error) {
	at := func(name string) string { return path.Join(adminDir, name) }
	files := []dbFile{{name: at("available")}, {name: at("info/format"), text: "1\n"}, {name: at("triggers/Unincorp")}}
	var status strings.Builder
	waits := map[string][]string{} // trigger → packages
	for _, u := range a.packs {
		status.WriteString(u.stanza())
		base := at("info/" + u.inDatabase())
		files = append(files, dbFile{name: base + ".list", text: strings.Join(u.list, "\n") + "\n"})
		for _, c := range u.control {
			if c.name == "control" || c.name == "list" { // which are of dpkg's own making
				continue
			}
			files = append(files, dbFile{name: base + "." + c.name, text: string(c.data), mode: c.mode})
			if c.name == "triggers" {
				if err := u.triggers(string(c.data), waits); err != nil {
					return nil, &PackageError{u.Name, err}
				}
			}
		}
	}
	files = append(files, dbFile{name: at("status"), text: status.String()})
	var byPath strings.Builder
	for _, name := range slices.Sorted(maps.Keys(waits)) {
		if strings.HasPrefix(name, "/") {
			for _, who := range waits[name] {
				fmt.Fprintf(&byPath, "%s %s\n", name, who)
			}
			continue
		}
		files = append(files, dbFile{name: at("triggers/" + name), text: strings.Join(waits[name], "\n") + "\n"})
	}
	return append(files, dbFile{name: at("triggers/File"), text: byPath.String()}), nil
}

// inDatabase is the name that a package's files have in info/.
func (u *unpacked) inDatabase() string {
	if u.multiArch {
		return u.Name + ":" + u.Architecture
	}
	return u.Name
}

// stanza is what status says of a package: its control file, with the state.
func (u *unpacked) stanza() string {
	var b strings.Builder
	for line := range strings.SplitSeq(u.paragraph, "\n") {
		b.WriteString(line + "\n")
		if strings.HasPrefix(strings.ToLower(line), "package:") {
			b.WriteString("Status: install ok unpacked\n")
		}
	}
	first := true
	for _, name := range slices.Sorted(maps.Keys(u.conffiles)) {
		if u.conffiles[name] == "" {
			continue // it is in no data
		}
		if first {
			b.WriteString("Conffiles:\n")
		}
		first = false
		fmt.Fprintf(&b, " %s %s\n", name, u.conffiles[name])
	}
	return b.String() + "\n"
}

// triggerName is as that of a package: the files beside those of the names in capital
// letters are dpkg's own.
var triggerName = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9+._-]*$`)

// triggers notes what a package waits for. What it activates is of no account: all
// who wait will be configured.
func (u *unpacked) triggers(text string, waits map[string][]string) error {
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 || !strings.HasPrefix(words[1], "/") && !triggerName.MatchString(words[1]) {
			return fmt.Errorf("its triggers have the line %q", line)
		}
		switch words[0] {
		case "interest", "interest-await":
			waits[words[1]] = append(waits[words[1]], u.inDatabase())
		case "interest-noawait":
			waits[words[1]] = append(waits[words[1]], u.inDatabase()+"/noawait")
		case "activate", "activate-await", "activate-noawait":
		default:
			return fmt.Errorf("its triggers have the line %q", line)
		}
	}
	return nil
}

// shells are what can stand for /bin/sh where no package has it, the best first:
// older Debian makes the link when dash is configured, and a busybox alone has none.
var shells = []string{"usr/bin/dash", "usr/bin/bash", "usr/bin/busybox"}

func (a *Assembly) shell() (name, to string) {
	const sh = "usr/bin/sh"
	if _, ok := a.places.nodes[sh]; ok {
		return "", ""
	}
	for _, s := range shells {
		if a.places.nodes[s].kind == isFile {
			return sh, path.Base(s)
		}
	}
	return "", ""
}
