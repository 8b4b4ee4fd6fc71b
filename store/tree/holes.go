package tree

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxHoles is how much of one output may be holes. A digest is of every byte, so a
// hole costs as much to hash as data does, and everybody who gets the output may have
// to write it; but to make one of a terabyte costs a stage nothing. What programs
// leave by themselves, like tables that grow by doubling, is far below.
const maxHoles = 16 << 30

// holes counts those of a file towards those of its output, and refuses when there are
// too many. Afterwards f is read from its beginning again.
func (c *capturer) holes(f *os.File, st *unix.Stat_t) error {
	const block = 512 // whatever the file system's own is
	if st.Blocks*block >= st.Size {
		return nil
	}
	found, err := holesIn(int(f.Fd()), st.Size, maxHoles)
	if err != nil {
		return fmt.Errorf("looking for holes: %w", err)
	}
	if c.hollow.Add(found) > maxHoles {
		return fmt.Errorf("its size is %s, and with it the output has more than %s of holes, which are not read", sizeText(st.Size), sizeText(maxHoles))
	}
	return nil
}

// holesIn is the sum of all holes; it stops counting above most. A file system may
// store less than there is without a hole, as one that compresses does.
func holesIn(fd int, size, most int64) (sum int64, err error) {
	for at := int64(0); at < size && sum <= most; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			data, err = size, nil // nothing but a hole is left
		}
		if err != nil {
			return 0, err
		}
		sum += data - at
		if data >= size {
			break
		}
		if at, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil {
			return 0, err
		}
	}
	_, err = unix.Seek(fd, 0, unix.SEEK_SET)
	return sum, err
}

func sizeText(n int64) string {
	if n >= 1<<40 {
		return fmt.Sprintf("%.1f TiB", float64(n)/(1<<40))
	}
	return fmt.Sprintf("%.0f GiB", float64(n)/(1<<30))
}
