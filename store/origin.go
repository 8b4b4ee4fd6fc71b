package store

// Origin says where a run came from and on what it ran. It is recorded and in no key.
type Origin struct {
	User string `json:"user,omitempty"` // who started it
	Host Host   `json:"host"`
	CI   *CI    `json:"ci,omitempty"`  // when a CI system started it
	Git  *Git   `json:"git,omitempty"` // when the project is in a work tree
}

// Host is the machine.
type Host struct {
	Name   string   `json:"name,omitempty"`
	Kernel string   `json:"kernel,omitempty"` // release
	CPU    string   `json:"cpu,omitempty"`    // model
	Cores  int      `json:"cores"`
	Memory int64    `json:"memory"`           // bytes, of the machine or the control group
	GPUs   []string `json:"gpus,omitempty"`   // models
	Driver string   `json:"driver,omitempty"` // of the GPUs
}

// CI is the job that started a run, as its system names it.
type CI struct {
	System string `json:"system"` // github, gitlab, jenkins, or other
	Job    string `json:"job,omitempty"`
	Run    string `json:"run,omitempty"` // number or id of the pipeline's run
	URL    string `json:"url,omitempty"`
	User   string `json:"user,omitempty"`
}

// Git is the state of the work tree that holds the project.
type Git struct {
	Commit  string `json:"commit,omitempty"` // "" before the first one
	Branch  string `json:"branch,omitempty"` // "" when none is checked out
	Checked bool   `json:"checked"`          // whether git was asked what differs
	Dirty   bool   `json:"dirty"`            // something tracked differs from the commit, or is not tracked
	Diff    Digest `json:"diff,omitzero"`    // of what differs from the commit, by content, when dirty
	Cut     string `json:"cut,omitempty"`    // why Diff is left out, a clause
}
