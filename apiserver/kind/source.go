package kind

// Source gives the kinds that there are besides the table's at the moment. The
// version is another one whenever they are others; rows makes the list.
type Source func() (version int64, rows func() []*Kind)
