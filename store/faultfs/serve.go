package faultfs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// handler answers the kernel. Nobody else changes the tree, so that the kernel may
// remember what it was told for as long as it likes. Inodes are never forgotten: a
// test is short.
type handler struct {
	fuse.RawFileSystem
	fs *FS
}

const remembered = uint64(time.Hour / time.Second)

func (h *handler) String() string { return "faultfs" }

func (h *handler) node(ino uint64) (*node, fuse.Status) {
	if n := h.fs.live.nodes[ino]; n != nil {
		return n, fuse.OK
	}
	return nil, fuse.Status(unix.ESTALE)
}

func (n *node) attr(ino uint64, out *fuse.Attr) {
	*out = fuse.Attr{Ino: ino, Size: uint64(n.size), Blocks: uint64(len(n.pages)) * pageSize / 512, Blksize: pageSize, Mode: n.mode, Nlink: uint32(n.links)}
	out.Uid, out.Gid = n.uid, n.gid
	for at, into := range map[int64][2]any{n.atime: {&out.Atime, &out.Atimensec}, n.mtime: {&out.Mtime, &out.Mtimensec}, n.ctime: {&out.Ctime, &out.Ctimensec}} {
		*into[0].(*uint64), *into[1].(*uint32) = uint64(at/1e9), uint32(at%1e9)
	}
}

func (h *handler) entry(ino uint64, out *fuse.EntryOut) fuse.Status {
	n, st := h.node(ino)
	if st.Ok() {
		out.NodeId, out.Generation, out.EntryValid, out.AttrValid = ino, 1, remembered, remembered
		n.attr(ino, &out.Attr)
	}
	return st
}

func (h *handler) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	d, st := h.node(in.NodeId)
	if !st.Ok() {
		return st
	}
	ino, ok := d.entries[name]
	if !ok {
		return fuse.ENOENT
	}
	return h.entry(ino, out)
}

func (h *handler) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	n, st := h.node(in.NodeId)
	if st.Ok() {
		out.AttrValid = remembered
		n.attr(in.NodeId, &out.Attr)
	}
	return st
}

func (h *handler) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

func (h *handler) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	n, st := h.node(in.NodeId)
	if !st.Ok() {
		return nil, st
	}
	return fuse.ReadResultData(n.read(int64(in.Offset), len(buf))), fuse.OK
}

func (h *handler) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	n, st := h.node(in.NodeId)
	if !st.Ok() {
		return nil, st
	}
	return []byte(n.target), fuse.OK
}

// OpenDir takes what is there now: a directory that is read while it is emptied must
// leave nothing out.
func (h *handler) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	n, st := h.node(in.NodeId)
	if !st.Ok() {
		return st
	}
	h.fs.handle++
	h.fs.handles[h.fs.handle] = n.list()
	out.Fh = h.fs.handle
	return fuse.OK
}

func (h *handler) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	all := h.fs.handles[in.Fh]
	for i := int(in.Offset); i < len(all); i++ {
		n, st := h.node(all[i].ino)
		if !st.Ok() {
			return st
		}
		if !out.AddDirEntry(fuse.DirEntry{Name: all[i].name, Ino: all[i].ino, Mode: n.mode, Off: uint64(i + 1)}) {
			break
		}
	}
	return fuse.OK
}

func (h *handler) ReleaseDir(in *fuse.ReleaseIn) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	delete(h.fs.handles, in.Fh)
}

func (h *handler) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Blocks: 1 << 20, Bfree: 1 << 20, Bavail: 1 << 20, Files: 1 << 20, Ffree: 1 << 20, Bsize: pageSize, Frsize: pageSize, NameLen: 255}
	return fuse.OK
}

// Flush is what close does, and makes nothing durable.
func (h *handler) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (h *handler) GetXAttr(<-chan struct{}, *fuse.InHeader, string, []byte) (uint32, fuse.Status) {
	return 0, fuse.Status(unix.ENODATA)
}

// The kernel asks for locks only of a file system without any.

func (h *handler) GetLk(_ <-chan struct{}, _ *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	out.Lk.Typ = unix.F_UNLCK
	return fuse.OK
}

func (h *handler) SetLk(<-chan struct{}, *fuse.LkIn) fuse.Status  { return fuse.OK }
func (h *handler) SetLkw(<-chan struct{}, *fuse.LkIn) fuse.Status { return fuse.OK }
