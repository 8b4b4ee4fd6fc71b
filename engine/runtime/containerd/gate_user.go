package containerd

import (
	"archive/tar"
	"strings"
)

// What a layer holds that an ordinary user cannot have as it is.

// gate is one for this runtime's layers: without root some owners cannot be.
func (r *rootfs) gate(root string, lower []string, limit *limiter) *gate {
	g := newGate(root, lower, limit)
	if r.plain {
		g.ids = r.ids
	}
	return g
}

// permit takes from an entry what may not be written without root. An owner that has
// no id here is nobody, as a mapped mount would show it, or root where there is no
// nobody either.
func (g *gate) permit(h *tar.Header) {
	const nobody = 65534
	if g.ids == 0 {
		return
	}
	for _, id := range []*int{&h.Uid, &h.Gid} {
		switch {
		case *id >= 0 && *id < int(g.ids):
		case nobody < g.ids:
			*id = nobody
		default:
			*id = 0
		}
	}
	for record := range h.PAXRecords {
		attr, ok := strings.CutPrefix(record, "SCHILY.xattr.")
		if ok && (strings.HasPrefix(attr, "security.") && attr != capabilityAttr || strings.HasPrefix(attr, overlayAttrs())) {
			delete(h.PAXRecords, record)
		}
	}
}
