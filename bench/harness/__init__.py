"""What all benches share: namespaces with shaped links, measured processes, the programs that are compared, tables."""
