package faultfs

import (
	"bytes"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// make makes an inode with a name.
func (h *handler) make(op Op, out *fuse.EntryOut) fuse.Status {
	d, st := h.node(op.Dir)
	if !st.Ok() {
		return st
	}
	if _, ok := d.entries[op.Name]; ok {
		return fuse.Status(unix.EEXIST)
	}
	op.Kind, op.Ino = Make, h.fs.last+1
	h.fs.last++
	if st := h.fs.change(op); !st.Ok() {
		return st
	}
	return h.entry(op.Ino, out)
}

func (h *handler) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.make(Op{Dir: in.NodeId, Name: name, Mode: in.Mode, UID: in.Uid, GID: in.Gid}, out)
}

func (h *handler) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.make(Op{Dir: in.NodeId, Name: name, Mode: in.Mode&0o7777 | unix.S_IFDIR, UID: in.Uid, GID: in.Gid}, out)
}

func (h *handler) Symlink(_ <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.make(Op{Dir: in.NodeId, Name: name, Target: target, Mode: unix.S_IFLNK | 0o777, UID: in.Uid, GID: in.Gid}, out)
}

func (h *handler) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return h.make(Op{Dir: in.NodeId, Name: name, Mode: in.Mode&0o7777 | unix.S_IFREG, UID: in.Uid, GID: in.Gid}, &out.EntryOut)
}

func (h *handler) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if st := h.fs.change(Op{Kind: Link, Dir: in.NodeId, Name: name, Ino: in.Oldnodeid}); !st.Ok() {
		return st
	}
	return h.entry(in.Oldnodeid, out)
}

func (h *handler) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.remove(in.NodeId, name)
}

func (h *handler) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	d, st := h.node(in.NodeId)
	if !st.Ok() {
		return st
	}
	if n := h.fs.live.nodes[d.entries[name]]; n != nil && len(n.entries) > 0 {
		return fuse.Status(unix.ENOTEMPTY)
	}
	return h.remove(in.NodeId, name)
}

func (h *handler) remove(dir uint64, name string) fuse.Status {
	d, st := h.node(dir)
	if !st.Ok() {
		return st
	}
	ino, ok := d.entries[name]
	if !ok {
		return fuse.ENOENT
	}
	return h.fs.change(Op{Kind: Remove, Dir: dir, Name: name, Ino: ino})
}

func (h *handler) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	d, st := h.node(in.NodeId)
	if !st.Ok() {
		return st
	}
	ino, ok := d.entries[from]
	if !ok {
		return fuse.ENOENT
	}
	into, st := h.node(in.Newdir)
	if !st.Ok() {
		return st
	}
	old, taken := into.entries[to]
	switch {
	case in.Flags == unix.RENAME_EXCHANGE && taken && in.Newdir == in.NodeId:
		return h.fs.change(Op{Kind: Exchange, Dir: in.NodeId, Name: from, Ino: ino, ToDir: in.Newdir, ToName: to, ToIno: old})
	case in.Flags&^unix.RENAME_NOREPLACE != 0:
		return fuse.EINVAL
	case taken && in.Flags&unix.RENAME_NOREPLACE != 0:
		return fuse.Status(unix.EEXIST)
	case taken && old == ino:
		return fuse.OK
	case taken && len(h.fs.live.nodes[old].entries) > 0:
		return fuse.Status(unix.ENOTEMPTY)
	}
	return h.fs.change(Op{Kind: Rename, Dir: in.NodeId, Name: from, ToDir: in.Newdir, ToName: to, Ino: ino})
}

// SetAttr may set several things: each is a change, and a size comes first.
func (h *handler) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	n, st := h.node(in.NodeId)
	if !st.Ok() {
		return st
	}
	if size, ok := in.GetSize(); ok && int64(size) != n.size {
		if st := h.fs.change(Op{Kind: Resize, Ino: in.NodeId, Off: int64(size)}); !st.Ok() {
			return st
		}
	}
	op := Op{Kind: Attr, Ino: in.NodeId}
	op.Mode, op.Has.Mode = in.GetMode()
	op.UID, op.Has.UID = in.GetUID()
	op.GID, op.Has.GID = in.GetGID()
	var at time.Time
	if at, op.Has.Atime = in.GetATime(); op.Has.Atime {
		op.Times[0] = at.UnixNano()
	}
	if at, op.Has.Mtime = in.GetMTime(); op.Has.Mtime {
		op.Times[1] = at.UnixNano()
	}
	if op.Has != (Fields{}) {
		if st := h.fs.change(op); !st.Ok() {
			return st
		}
	}
	out.AttrValid = remembered
	n.attr(in.NodeId, &out.Attr)
	return fuse.OK
}

func (h *handler) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if _, st := h.node(in.NodeId); !st.Ok() {
		return 0, st
	}
	op := Op{Kind: Write, Ino: in.NodeId, Off: int64(in.Offset), Data: bytes.Clone(data)}
	if st := h.fs.change(op); !st.Ok() {
		return 0, st
	}
	return uint32(len(data)), fuse.OK
}

func (h *handler) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	n, st := h.node(in.NodeId)
	if !st.Ok() {
		return st
	}
	if in.Mode != 0 {
		return fuse.Status(unix.EOPNOTSUPP)
	}
	if end := int64(in.Offset + in.Length); end > n.size {
		return h.fs.change(Op{Kind: Resize, Ino: in.NodeId, Off: end})
	}
	return fuse.OK
}

func (h *handler) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.fs.change(Op{Kind: Sync, Ino: in.NodeId})
}

func (h *handler) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return h.Fsync(cancel, in)
}

// SetXAttr takes a mark, which no fault meets.
func (h *handler) SetXAttr(_ <-chan struct{}, _ *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	if attr != markAttr {
		return fuse.Status(unix.EOPNOTSUPP)
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.fs.journal = append(h.fs.journal, Op{Kind: Words, Words: string(data)})
	return fuse.OK
}
